"""A trained restoration network that restores whole images, for masks of source 'restored'."""

import torch
import torch.nn.functional as F
from mmagic.registry import MODELS
from mmengine.runner import CheckpointLoader
from torch import Tensor

from mmsampriors.datasets.stored_masks import leaves
from mmsampriors.models.network_probe import probe_network

from .export import stock_model

MULTIPLE = 64  # of rows and columns; what the deepest of mmagic's restoration networks asks for
LUMA = (0.299, 0.587, 0.114)  # of R, G and B: how OpenCV loads a colour file as gray


class Restorer:
    """The student of a config with the weights of a checkpoint.

    Args:
        model (dict): ``model`` of a config, of an SPDModel or a stock one.
        checkpoint (str): File or URL, with ``generator.*``.
        channel_order (str): In which the train pipeline loads images, 'rgb' or 'bgr'.

    Raises:
        ValueError: The checkpoint does not fit the network.
    """

    def __init__(self, model: dict, checkpoint: str, channel_order: str):
        built = MODELS.build(stock_model(model))
        self.generator, self.preprocessor = built.generator.eval(), built.data_preprocessor
        self.gray = probe_network(self.generator).image_channels == 1
        self.bgr = (self.preprocessor.output_channel_order or channel_order).upper() == 'BGR'
        loaded = CheckpointLoader.load_checkpoint(checkpoint, map_location='cpu')
        weights = loaded.get('state_dict', loaded)
        weights = {key[len('generator.') :]: value for key, value in weights.items() if key.startswith('generator.')}
        try:
            self.generator.load_state_dict(weights)
        except RuntimeError as error:
            raise ValueError(f'the restorer checkpoint {checkpoint} does not fit model.generator: {error}') from None

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Tensor:
        """Restores (N, 3, H, W), RGB in [0, 1]; a gray student the gray image, which comes back with three channels."""
        self.generator.to(images.device)
        self.preprocessor.to(images.device)
        height, width = images.shape[-2:]
        inputs = F.pad(images, (0, -width % MULTIPLE, 0, -height % MULTIPLE), mode='replicate') * 255
        if self.gray:
            inputs = (inputs * inputs.new_tensor(LUMA).view(3, 1, 1)).sum(1, keepdim=True).round()
        elif self.bgr:
            inputs = inputs.flip(1)
        if self.preprocessor._enable_normalize:
            mean, std = self.preprocessor.mean, self.preprocessor.std
            outputs = self.generator((inputs - mean) / std) * std + mean
        else:
            outputs = self.generator(inputs)
        scale = outputs.shape[-1] // inputs.shape[-1]
        outputs = outputs[..., : height * scale, : width * scale].clamp(0, 255) / 255
        if self.gray:
            return outputs.expand(-1, 3, -1, -1)
        return outputs.flip(1) if self.bgr else outputs


def restorer_of(cfg, source, dataset):
    """The restorer that a stored mask source names, or None where it segments the images as they are.

    Args:
        cfg (Config): Holds ``model``, whose student restores.
        source (MaskSource): A stored one, with ``source`` and, where that is 'restored', ``restorer``, a checkpoint.
        dataset (Dataset): The train dataset, built.
    """
    if source.source != 'restored':
        return None
    loaders = [step for step in leaves(dataset)[0].pipeline.transforms if getattr(step, 'key', None) == 'img']
    return Restorer(cfg.model, source.restorer, loaders[0].channel_order)

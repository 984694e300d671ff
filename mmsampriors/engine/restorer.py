"""A trained restoration network that restores whole images, for masks of source 'restored'."""

import torch
import torch.nn.functional as F
from torch import Tensor

from mmsampriors.datasets.stored_masks import datasets_with_pipeline
from mmsampriors.models.frozen_copy import load_network
from mmsampriors.models.network_probe import probe_network
from mmsampriors.models.rgb import from_rgb, to_rgb
from mmsampriors.registry import MODELS, build_part

from .export import stock_model

MULTIPLE = 64  # of rows and columns; what the deepest of mmagic's restoration networks asks for


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
        built = build_part(MODELS, stock_model(model))
        self.generator, self.preprocessor = built.generator.eval(), built.data_preprocessor
        self.channels = probe_network(self.generator).image_channels
        self.order = self.preprocessor.output_channel_order or channel_order
        load_network(self.generator, checkpoint, 'the restorer checkpoint', 'model.generator')

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Tensor:
        """Restores (N, 3, H, W), RGB in [0, 1]; a gray student the gray image, which comes back with three channels."""
        self.generator.to(images.device)
        self.preprocessor.to(images.device)
        height, width = images.shape[-2:]
        images = F.pad(images, (0, -width % MULTIPLE, 0, -height % MULTIPLE), mode='replicate')
        outputs = self.generator(from_rgb(images, self.preprocessor, self.order, self.channels))
        scale = outputs.shape[-1] // images.shape[-1]
        outputs = to_rgb(outputs, self.preprocessor, self.order)
        return outputs[..., : height * scale, : width * scale].clamp(0, 1)


def restorer_of(cfg, source, dataset):
    """The restorer that a stored mask source names, or None where it segments the images as they are.

    Args:
        cfg (Config): Holds ``model``, whose student restores.
        source (MaskSource): A stored one, with ``source`` and, where that is 'restored', ``restorer``, a checkpoint.
        dataset (Dataset): The train dataset, built.
    """
    if source.source != 'restored':
        return None
    steps = datasets_with_pipeline(dataset)[0].pipeline.transforms
    orders = {step.key: step.channel_order for step in steps if hasattr(step, 'channel_order')}
    # Noise that is drawn at random is put on a copy of the ground truth.
    return Restorer(cfg.model, source.restorer, orders['img'] if 'img' in orders else orders['gt'])

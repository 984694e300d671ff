"""What the refiner of a training makes of photographs, with the masks of its config."""

from pathlib import Path

import mmsampriors  # noqa: F401  (before mmagic, which it mends)

# isort: split
import numpy as np
import torch
from mmagic.structures import DataSample

from mmsampriors.checkpoints import read_weights
from mmsampriors.registry import MODELS

from .photographs import Photograph
from .tiles import to_type, to_unit
from .torch_network import TorchNetwork


class Refiner:
    """Refines whole photographs, for masks know no tiles.

    Args:
        network (TorchNetwork): The student of the same checkpoint.
        cfg (Config): Of an SPDModel.
        checkpoint (str): Of training, with SPF unit and refiner.

    Raises:
        ValueError: The config is of no SPDModel, or the checkpoint holds no refiner that fits it.
    """

    def __init__(self, network: TorchNetwork, cfg, checkpoint: str):
        if 'spd' not in cfg.model:
            raise ValueError(f'refining needs the config of an SPDModel; this one has {cfg.model.type}')
        weights = read_weights(checkpoint)
        if not any(key.startswith('refiner.') for key in weights):
            raise ValueError(f'refining needs a training checkpoint; {checkpoint} holds no refiner')
        self.network, self.student = network, network.student
        self.model = MODELS.build(cfg.model).eval().to(network.device)
        try:
            self.model.load_state_dict(weights)
        except RuntimeError as error:
            raise ValueError(f'the checkpoint {checkpoint} does not fit the model: {error}') from None
        self.model.test_cfg = {**(self.model.test_cfg or {}), 'refined': True}
        self.model.mask_source.prepare()

    @torch.no_grad()
    def refine(self, photograph: Photograph, path: Path) -> Photograph:
        """The refined photograph.

        Args:
            photograph (Photograph): As read.
            path (Path): Its file, for masks that are kept by name.
        """
        unit = to_unit(photograph.pixels)
        if unit.ndim == 2:
            unit = np.stack([unit] * 3, axis=2)
        images = torch.from_numpy(unit).permute(2, 0, 1)[None].to(self.network.device)
        samples = DataSample(metainfo=dict(img_channel_order=[self.student.order], img_path=[str(path)]))
        outputs = self.model.forward_tensor(self.student.input_of(images), samples)
        refined = self.student.image_of(outputs, images.shape[-2:])[0].permute(1, 2, 0).cpu().numpy()
        if photograph.pixels.ndim == 2 or refined.shape[2] == 1:
            refined = refined.mean(axis=2)
        return photograph.with_pixels(to_type(refined, photograph.pixels.dtype))

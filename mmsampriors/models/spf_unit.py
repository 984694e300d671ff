"""SPF: semantic priors fusion [paper, "SPF"]; the form of the unit is [ours] (docs/how_it_works.md)."""

from typing import Optional

import torch
import torch.nn.functional as F
from mmengine.model import BaseModule
from torch import Tensor, nn

from mmsampriors.registry import MODELS

from .regions import Regions, boundaries, paint, region_means


@MODELS.register_module()
class SPFUnit(BaseModule):
    """Fuses the restored image with its masks, without regard to the order of the masks.

    The last layer starts at zero, so that at the first step the refiner takes the restored image as it is.

    Args:
        image_channels (int): Channels of the restored image.
        entry_channels (int): Channels of the refiner's first feature map; used by ``inject='feature'``.
        form (str): ``'prototype'`` pools features of the image inside each mask and paints each region with its mean
            vector, beside a map of region borders and one of coverage. ``'stack'`` takes the ``max_masks`` largest
            masks as channels: it depends on their order, and is the baseline of the ablation.
        inject (str): ``'image'`` adds the result to the image that the refiner takes, ``'feature'`` to the refiner's
            first feature map.
        entry (str, optional): Name of the refiner's submodule that makes its first feature map, such as ``intro`` in
            NAFNet. ``SPDModel`` finds it by running the refiner once where the config leaves it out.
        channels (int): Width of the unit.
        max_masks (int): Masks that ``'stack'`` takes.
        mask_dropout (float): Probability in [0, 1) with which each mask is dropped while training.
        passes (int): Times that the image is fused with its masks and refined, each time what came out the last time,
            with the same weights [ours].
    """

    FORMS = ('prototype', 'stack')
    PLACES = ('image', 'feature')

    def __init__(
        self,
        image_channels: int,
        entry_channels: int,
        form: str = 'prototype',
        inject: str = 'feature',
        entry: Optional[str] = None,
        channels: int = 32,
        max_masks: int = 64,
        mask_dropout: float = 0.0,
        passes: int = 1,
    ):
        super().__init__()
        for key, value, known in (('form', form, self.FORMS), ('inject', inject, self.PLACES)):
            if value not in known:
                raise ValueError(f'spd.spf.{key} must be one of {known}, found {value!r}')
        if inject == 'feature' and entry is None:
            raise ValueError(
                "spd.spf.inject='feature' needs a feature map at the resolution of the image, and the "
                "refiner's first convolution makes none: name a submodule that does in spd.spf.entry, or "
                "set spd.spf.inject='image'"
            )
        if not 0 <= mask_dropout < 1:
            raise ValueError(f'spd.spf.mask_dropout must be in [0, 1), found {mask_dropout}')
        for key, value in (('channels', channels), ('max_masks', max_masks), ('passes', passes)):
            if value < 1:
                raise ValueError(f'spd.spf.{key} must be at least 1, found {value}')
        self.form, self.inject, self.entry, self.passes = form, inject, entry, passes
        self.max_masks, self.mask_dropout = max_masks, mask_dropout
        mask_channels = channels + 2 if form == 'prototype' else max_masks
        self.embed = nn.Sequential(
            nn.Conv2d(image_channels, channels, 3, padding=1), nn.GELU(), nn.Conv2d(channels, channels, 3, padding=1)
        )
        self.fuse = nn.Sequential(nn.Conv2d(channels + mask_channels, channels, 3, padding=1), nn.GELU())
        self.project = nn.Conv2d(channels, image_channels if inject == 'image' else entry_channels, 3, padding=1)
        self._start_at_zero()

    def _start_at_zero(self):
        nn.init.zeros_(self.project.weight)
        nn.init.zeros_(self.project.bias)

    def init_weights(self):
        """As in BaseModule; an ``init_cfg`` of the whole model leaves the last layer at zero."""
        super().init_weights()
        self._start_at_zero()

    def forward(self, restored: Tensor, regions: Regions) -> Tensor:
        """Computes what is added to the refiner's image or first feature map.

        Args:
            restored (Tensor): (N, C, H, W).
            regions (Regions): The masks of the N images, on the same pixels.

        Returns:
            Tensor: (N, C, H, W) for ``inject='image'``, (N, entry_channels, H, W) for ``'feature'``.
        """
        if self.training and self.mask_dropout:
            chances = torch.rand(regions.stacked.shape[:2], device=restored.device)
            regions = regions.only(chances >= self.mask_dropout)
        features = self.embed(restored)
        maps = self._prototypes(features, regions) if self.form == 'prototype' else self._stack(regions)
        return self.project(self.fuse(torch.cat([features, maps.to(features.dtype)], 1)))

    def _prototypes(self, features, regions):
        weights = regions.weights
        # Sums over thousands of pixels, and numbers of 24 bits: half precision would lose the small ones.
        with torch.autocast(features.device.type, enabled=False):
            painted = paint(region_means(features.float(), weights), weights)
            return torch.cat([painted, boundaries(weights), weights.amax(1, keepdim=True)], 1)

    def _stack(self, regions):
        largest = regions.weights[:, : self.max_masks]
        missing = self.max_masks - largest.shape[1]
        return F.pad(largest, (0, 0, 0, 0, 0, missing))

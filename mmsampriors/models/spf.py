"""SPF: semantic priors fusion, and where it enters the refiner [paper, "SPF"]; its form is [ours]."""

from contextlib import contextmanager
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

    Features of the image are pooled inside each mask, and each region is painted with its mean vector, beside a map of
    region borders and one of mask coverage [ours]. The last layer starts at zero, so that at the first step the refiner
    takes the restored image as it is.

    Args:
        image_channels (int): Channels of the restored image.
        entry_channels (int): Channels of the refiner's first feature map; used by ``inject='feature'``.
        entry_stride (int): How many pixels of the image a side of a position of that map has; likewise.
        inject (str): ``'image'`` adds the result to the image that the refiner takes, ``'feature'`` to the refiner's
            first feature map.
        entry (str, optional): Name of the refiner's submodule that makes its first feature map, such as ``intro`` in
            NAFNet. ``SPDModel`` finds it by running the refiner once where the config leaves it out.
        channels (int): Width of the unit.
    """

    PLACES = ('image', 'feature')

    def __init__(
        self,
        image_channels: int,
        entry_channels: int,
        entry_stride: int = 1,
        inject: str = 'feature',
        entry: Optional[str] = None,
        channels: int = 32,
    ):
        super().__init__()
        if inject not in self.PLACES:
            raise ValueError(f'spd.spf.inject must be one of {self.PLACES}, found {inject!r}')
        if inject == 'feature' and entry is None:
            raise ValueError(
                "spd.spf.inject='feature' needs a feature map at the resolution of the image, and the "
                "refiner's first convolution makes none: name a submodule that does in spd.spf.entry, or "
                "set spd.spf.inject='image'"
            )
        if channels < 1:
            raise ValueError(f'spd.spf.channels must be at least 1, found {channels}')
        self.inject, self.entry = inject, entry
        self.stride = entry_stride if inject == 'feature' else 1
        self.embed = nn.Sequential(
            nn.Conv2d(image_channels, channels, 3, padding=1), nn.GELU(), nn.Conv2d(channels, channels, 3, padding=1)
        )
        self.fuse = nn.Sequential(nn.Conv2d(2 * channels + 2, channels, 3, padding=1), nn.GELU())
        outputs = image_channels if inject == 'image' else entry_channels
        self.project = nn.Conv2d(channels * self.stride**2, outputs, 3, padding=1)
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
            Tensor: (N, C, H, W) for ``inject='image'``, (N, entry_channels, H / stride, W / stride) for ``'feature'``.
        """
        features = self.embed(restored)
        fused = self.fuse(torch.cat([features, self._prototypes(features, regions).to(features.dtype)], 1))
        return self.project(F.pixel_unshuffle(fused, self.stride) if self.stride > 1 else fused)

    def _prototypes(self, features, regions):
        weights = regions.weights
        # Sums over thousands of pixels, and numbers of 24 bits: half precision would lose the small ones.
        with torch.autocast(features.device.type, enabled=False):
            painted = paint(region_means(features.float(), weights), weights)
            return torch.cat([painted, boundaries(weights), weights.amax(1, keepdim=True)], 1)


class FeatureEntry:
    """Adds features to what a module puts out, by one forward hook that stays for good.

    ``torch.compile`` guards the hooks of a module: a new hook at each call would be a new compilation at each call.

    Args:
        module (nn.Module): Makes feature maps, (N, C, H, W). Padded networks make them larger than the features.

    Attributes:
        features (Tensor, optional): What the hook adds at the moment.
    """

    def __init__(self, module: nn.Module):
        self.features: Optional[Tensor] = None
        module.register_forward_hook(self._add)

    def _add(self, module, inputs, output):
        if self.features is None:
            return output
        # Networks pad at the bottom and the right, so zeros do.
        missing = [wide - narrow for wide, narrow in zip(output.shape[2:], self.features.shape[2:])]
        return output + F.pad(self.features, (0, missing[1], 0, missing[0]))

    @contextmanager
    def adding(self, features: Tensor):
        """Adds (N, C, h, w) in the body."""
        self.features = features
        try:
            yield
        finally:
            self.features = None

"""Felzenszwalb's graph-based segmentation: an embedded segmenter that needs no weights."""

import torch
from skimage.segmentation import felzenszwalb

from mmsampriors.masks import ImageMasks
from mmsampriors.registry import MODELS

from .base import MaskSource


@MODELS.register_module()
class FelzenszwalbMasks(MaskSource):
    """Regions of :func:`skimage.segmentation.felzenszwalb`, on the CPU, one image at a time.

    They follow colour and know no objects: no replacement for SAM.

    Args:
        scale (float): Larger means larger regions.
        sigma (float): Standard deviation of the smoothing before, in pixels.
        min_size (int): Smallest region in pixels.
    """

    caution = (
        "masks are Felzenszwalb's segments, which know no objects: fine to try things out. For a real run take SAM, "
        "e.g. model.spd.masks.segmenter=dict(type='SAMMasks', model_type='vit_h')"
    )

    def __init__(self, scale: float = 100.0, sigma: float = 0.8, min_size: int = 32):
        self.settings = dict(scale=scale, sigma=sigma, min_size=min_size)

    def provenance(self):
        return dict(type='FelzenszwalbMasks', **self.settings)

    def segment(self, images, paths=()):
        arrays = images.clamp(0, 1).permute(0, 2, 3, 1).cpu().double().numpy()
        maps = (torch.from_numpy(felzenszwalb(array, **self.settings)) for array in arrays)
        return [ImageMasks.from_label_map(labels).to(images.device) for labels in maps]

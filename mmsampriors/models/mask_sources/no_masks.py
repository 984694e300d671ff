"""No masks at all: what remains is self-distillation, the rival that shows what SAM contributes."""

from mmsampriors.masks import ImageMasks
from mmsampriors.registry import MODELS

from .base import MaskSource


@MODELS.register_module()
class NoMasks(MaskSource):
    """The empty set of masks for every image, for the ablation."""

    def provenance(self):
        return dict(type='NoMasks')

    def segment(self, images, paths=()):
        return [ImageMasks.empty(*images.shape[-2:], device=images.device) for _ in images]

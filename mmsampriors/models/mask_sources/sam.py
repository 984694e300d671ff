"""Masks of the Segment Anything Model."""
from typing import Optional

import torch
from mmagic.registry import MODELS

from mmsampriors.masks import MaskEngine, build_sam

from .base import MaskSource


@MODELS.register_module()
class SAMMasks(MaskSource):
    """"Segment everything" by segment-anything's ``Sam``, through this project's batched engine.

    Args:
        model_type (str): ``vit_h``, ``vit_l``, ``vit_b``, or ``tiny``, the small one that travels with the package and
            is no replacement for Meta's.
        checkpoint (str, optional): File or URL. Defaults to None: Meta's official URL, or the embedded weights.
        engine (dict, optional): Arguments of :class:`mmsampriors.masks.MaskEngine`.
    """

    def __init__(self, model_type: str = 'vit_h', checkpoint: Optional[str] = None, engine: Optional[dict] = None):
        self.model_type, self.checkpoint, self.engine_cfg = model_type, checkpoint, dict(engine or {})
        self._engine = None

    def prepare(self):
        if self._engine is None:
            self._engine = MaskEngine(build_sam(self.model_type, self.checkpoint), **self.engine_cfg)

    def provenance(self):
        raise NotImplementedError

    @torch.no_grad()
    def segment(self, images, paths=()):
        self.prepare()
        return self._engine.to(images.device).generate(images)

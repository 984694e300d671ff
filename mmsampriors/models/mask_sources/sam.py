"""Masks of the Segment Anything Model."""

import inspect
import os.path as osp
from typing import Optional

import torch

from mmsampriors.masks import META_AUTOMATIC, SAM_AUTOMATIC, SAM_BUILDERS, MaskEngine, build_sam, checkpoint_id
from mmsampriors.masks.sam.precision import fastest_exact_enough
from mmsampriors.registry import MODELS

from .base import MaskSource

# Arguments of MaskEngine that say how masks are computed and not which.
NOT_IN_PROVENANCE = ('sam', 'compile', 'images_per_batch', 'max_bytes')


@MODELS.register_module()
class SAMMasks(MaskSource):
    """ "Segment everything" by segment-anything's ``Sam``, through this project's batched engine.

    Args:
        model_type (str): ``vit_h``, ``vit_l``, ``vit_b``, one that :func:`mmsampriors.masks.register_sam` made known,
            or ``tiny``, the small one that travels with the package and is no replacement for Meta's.
        checkpoint (str, optional): A local file. Defaults to None: Meta's, downloaded once, or the embedded weights.
        engine (dict, optional): Arguments of :class:`mmsampriors.masks.MaskEngine`; ``dtype`` by its name. Those that
            are not named have the engine's defaults, the thresholds and points those that suit the SAM; but ``dtype``
            is bfloat16 on a GPU that computes in it, and float32 elsewhere.
    """

    def __init__(self, model_type: str = 'vit_h', checkpoint: Optional[str] = None, engine: Optional[dict] = None):
        self.model_type, self.checkpoint = model_type, checkpoint
        self.engine_cfg = {**SAM_AUTOMATIC.get(model_type, META_AUTOMATIC), **(engine or {})}
        known = inspect.signature(MaskEngine).parameters
        unknown = sorted(set(self.engine_cfg) - (set(known) - {'sam'}))
        if unknown:
            raise ValueError(
                f'spd.masks.engine has unknown keys {unknown}; MaskEngine takes {sorted(set(known) - {"sam"})}'
            )
        self._engine = None

    @property
    def caution(self):
        return (
            (
                "masks are those of sam_tiny, which is no replacement for Meta's SAM: for a real run take "
                "model_type='vit_h'"
            )
            if self.model_type == 'tiny'
            else ''
        )

    def check(self):
        if self.model_type not in SAM_BUILDERS:
            raise ValueError(f'model_type of SAMMasks must be one of {sorted(SAM_BUILDERS)}, found {self.model_type!r}')
        if self.checkpoint is not None and not osp.isfile(self.checkpoint):
            raise FileNotFoundError(
                f'no SAM checkpoint at {self.checkpoint}: give the path of a local file for {self.model_type} in '
                'checkpoint (model.spd.masks.segmenter.checkpoint where masks are cached)'
            )

    def prepare(self):
        """Builds the SAM, once."""
        if self._engine is None:
            settings = dict(self.engine_cfg)
            if isinstance(settings.get('dtype'), str):
                settings['dtype'] = getattr(torch, settings['dtype'])
            self._engine = MaskEngine(build_sam(self.model_type, self.checkpoint).requires_grad_(False), **settings)

    def provenance(self):
        # Defaults too: another version of the engine may have others.
        defaults = {name: parameter.default for name, parameter in inspect.signature(MaskEngine).parameters.items()}
        settings = {
            name: str(value)
            for name, value in {**defaults, 'dtype': 'by device', **self.engine_cfg}.items()
            if name not in NOT_IN_PROVENANCE
        }
        checkpoint = checkpoint_id(self.model_type, self.checkpoint)
        return dict(type='SAMMasks', model_type=self.model_type, checkpoint=checkpoint, engine=settings)

    def segment(self, images, paths=()):
        self.prepare()
        self._engine.sam.to(images.device)
        if 'dtype' not in self.engine_cfg:
            self._engine.dtype = fastest_exact_enough(images.device)
        return self._engine.generate(images)

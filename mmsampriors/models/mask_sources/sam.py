"""Masks of the Segment Anything Model."""

import inspect
import os.path as osp
from typing import Optional

import torch
from mmengine.logging import print_log

from mmsampriors.masks import META_AUTOMATIC, SAM_AUTOMATIC, SAM_BUILDERS, MaskEngine, checkpoint_id, shared_sam
from mmsampriors.masks.optional_packages import check_extra
from mmsampriors.masks.sam.precision import fastest_exact_enough
from mmsampriors.registry import MODELS

from .base import MaskSource

# Arguments of MaskEngine that say how masks are computed and not which.
NOT_IN_PROVENANCE = ('sam', 'compile', 'images_per_batch', 'max_bytes')


@MODELS.register_module()
class SAMMasks(MaskSource):
    """ "Segment everything" by a SAM, through this project's batched engine.

    Args:
        model_type (str): ``vit_h``, ``vit_l`` or ``vit_b``; ``sam2.1_l``, ``sam2.1_b+``, ``sam2.1_s`` or ``sam2.1_t``;
            ``hq_vit_h``, ``hq_vit_l``, ``hq_vit_b`` or ``hq_vit_tiny``; ``mobile_sam``; one that
            :func:`mmsampriors.masks.register_sam` made known; or ``tiny``, the small one that travels with the package
            and is no replacement for Meta's. All but the first three and the last are extras of this package.
        checkpoint (str, optional): A local file, or a URL. Defaults to None: the official one, downloaded once, or the
            embedded weights.
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
        self._engine, self._released = None, False

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
        check_extra(self.model_type)
        if self.checkpoint is not None and '://' not in self.checkpoint and not osp.isfile(self.checkpoint):
            raise FileNotFoundError(
                f'no SAM checkpoint at {self.checkpoint}: give the path of a local file for {self.model_type} in '
                'checkpoint (model.spd.masks.segmenter.checkpoint where masks are cached)'
            )

    def prepare(self):
        """Builds the SAM, once for all who ask for it."""
        if self._engine is None:
            settings = dict(self.engine_cfg)
            if isinstance(settings.get('dtype'), str):
                settings['dtype'] = getattr(torch, settings['dtype'])
            self._engine = MaskEngine(shared_sam(self.model_type, self.checkpoint), **settings)

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

    def release(self):
        """Moves the SAM to the host; the next images bring it back."""
        if self._engine is None or self._engine.sam.device.type == 'cpu':
            return
        sam = self._engine.sam
        device, megabytes = sam.device, sum(value.nbytes for value in sam.state_dict().values()) / 2**20
        self._engine.release()
        if device.type == 'cuda':
            torch.cuda.empty_cache()
        if not self._released:
            print_log(f'{self.model_type} left {device}, which has {megabytes:.0f} MiB more for training', 'current')
        self._released = True

    def segment(self, images, paths=()):
        self.prepare()
        self._engine.sam.to(images.device)
        if 'dtype' not in self.engine_cfg:
            self._engine.dtype = fastest_exact_enough(images.device)
        return self._engine.generate(images)

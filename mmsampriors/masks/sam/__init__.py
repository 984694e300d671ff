"""SAM and the batched "segment everything" over it."""

from .builders import SAM_BUILDERS, automatic_settings, build_sam, checkpoint_id, register_sam
from .engine import MaskEngine
from .shared import shared_sam
from .tiny import TINY_AUTOMATIC

__all__ = [
    'MaskEngine',
    'SAM_BUILDERS',
    'TINY_AUTOMATIC',
    'automatic_settings',
    'build_sam',
    'checkpoint_id',
    'register_sam',
    'shared_sam',
]

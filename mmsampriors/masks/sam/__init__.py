"""SAM and the batched "segment everything" over it."""

from .builders import META_AUTOMATIC, SAM_AUTOMATIC, SAM_BUILDERS, build_sam, checkpoint_id, register_sam, shared_sam
from .engine import MaskEngine
from .tiny import TINY_AUTOMATIC

"""Masks of images: tensors and SAM, and nothing of mmagic."""
from .builders import SAM_BUILDERS, build_sam, checkpoint_id, register_sam
from .cache import ImageFile, LabelMaps, MaskCache, MaskStore, MaskStoreError, build_store, sha256_of
from .engine import MaskEngine
from .fill import Filled, fill_cache
from .image_masks import ImageMasks, boxes_of
from .run_masks import RunMasks
from .tiny import TINY_AUTOMATIC

__all__ = [
    'boxes_of', 'build_sam', 'build_store', 'checkpoint_id', 'fill_cache', 'Filled', 'ImageFile', 'ImageMasks',
    'LabelMaps', 'MaskCache', 'MaskEngine', 'MaskStore', 'MaskStoreError', 'register_sam', 'RunMasks',
    'SAM_BUILDERS', 'sha256_of', 'TINY_AUTOMATIC'
]

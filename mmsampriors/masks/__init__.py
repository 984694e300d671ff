"""Masks of images: tensors and SAM, and nothing of mmagic.

At the root is what travels: the masks of an image, as tensors and as runs. ``sam`` makes masks, ``store`` keeps them.
"""

from .image_masks import ImageMasks, boxes_of
from .iou import pairwise_iou
from .run_masks import RunMasks
from .sam import (
    SAM_BUILDERS,
    TINY_AUTOMATIC,
    MaskEngine,
    automatic_settings,
    build_sam,
    checkpoint_id,
    register_sam,
    shared_sam,
)
from .store import (
    CocoRLE,
    Filled,
    ImageFile,
    LabelMaps,
    MaskCache,
    MaskStore,
    MaskStoreError,
    build_store,
    export_coco,
    fill_cache,
)

__all__ = [
    'automatic_settings',
    'boxes_of',
    'build_sam',
    'build_store',
    'checkpoint_id',
    'CocoRLE',
    'export_coco',
    'fill_cache',
    'Filled',
    'ImageFile',
    'ImageMasks',
    'LabelMaps',
    'MaskCache',
    'MaskEngine',
    'MaskStore',
    'MaskStoreError',
    'pairwise_iou',
    'register_sam',
    'RunMasks',
    'SAM_BUILDERS',
    'shared_sam',
    'TINY_AUTOMATIC',
]

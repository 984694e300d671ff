"""Masks of images: tensors and SAM, and nothing of mmagic.

At the root is what travels: the masks of an image, as tensors and as runs. ``sam`` makes masks, ``store`` keeps them.
"""

from .drawing import RunBatch, send_runs
from .image_masks import ImageMasks, boxes_of
from .iou import pairwise_iou
from .run_length_masks import RunMasks
from .sam import (
    META_AUTOMATIC,
    SAM_AUTOMATIC,
    SAM_BUILDERS,
    TINY_AUTOMATIC,
    MaskEngine,
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
    'META_AUTOMATIC',
    'pairwise_iou',
    'register_sam',
    'RunBatch',
    'RunMasks',
    'SAM_AUTOMATIC',
    'SAM_BUILDERS',
    'send_runs',
    'shared_sam',
    'TINY_AUTOMATIC',
]

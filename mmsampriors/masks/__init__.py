"""Masks of images: tensors and SAM, and nothing of mmagic.

At the root is what travels: the masks of an image, as tensors and as runs. ``sam`` makes masks, ``store`` keeps them.
"""

from .image_masks import ImageMasks, boxes_of, draw_masks, pairwise_iou
from .run_length_masks import RunMasks
from .run_lengths import send_runs
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
    MaskFiles,
    MasksByName,
    MaskStore,
    MaskStoreError,
    build_store,
    export_coco,
    fill_cache,
    folder_of_all,
    manifest_misfit,
    write_manifest,
)

"""Masks on disk: the cache, its file format, folders of label maps and of COCO run lengths, and filling the cache."""

from .build import build_store
from .cache import ImageFile, LabelMaps, MaskCache, MaskStore, MaskStoreError
from .coco import CocoRLE, export_coco
from .fill import Filled, fill_cache

__all__ = [
    'CocoRLE',
    'Filled',
    'ImageFile',
    'LabelMaps',
    'MaskCache',
    'MaskStore',
    'MaskStoreError',
    'build_store',
    'export_coco',
    'fill_cache',
]

"""Masks on disk: the cache, its file format, folders of label maps and of COCO run lengths, and filling the cache."""

from .cache import ImageFile, LabelMaps, MaskCache, MasksByName, MaskStore, MaskStoreError
from .coco import CocoRLE, build_store, export_coco, folder_of_all
from .fill import Filled, fill_cache
from .manifest import manifest_misfit, write_manifest
from .mask_files import MaskFiles

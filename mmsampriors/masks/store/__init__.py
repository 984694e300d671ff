"""Masks on disk: the cache, its file format, folders of label maps and of COCO run lengths, and filling the cache."""

from .cache import ImageFile, MaskCache, MaskStore, MaskStoreError
from .coco import CocoRLE, export_coco, folder_of_all
from .fill import Filled, fill_cache
from .label_maps import LabelMaps, MasksByName
from .manifest import manifest_misfit, write_manifest
from .mask_files import MaskFiles

STORES = {kind.__name__: kind for kind in (MaskCache, LabelMaps, CocoRLE)}


def build_store(store: dict) -> MaskStore:
    """A store from a config.

    Args:
        store (dict): ``type``, a key of :data:`STORES`, and the arguments of that class.
    """
    arguments = dict(store)
    kind = arguments.pop('type', None)
    if kind not in STORES:
        raise ValueError(f'the type of a mask store is one of {", ".join(STORES)}, found {kind!r}')
    return STORES[kind](**arguments)

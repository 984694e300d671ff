"""Stores from configs."""

from .cache import LabelMaps, MaskCache, MaskStore
from .coco import CocoRLE

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

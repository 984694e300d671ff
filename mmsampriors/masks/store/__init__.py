"""Masks on disk: the cache, its file format, folders of label maps, and filling the cache."""

from .cache import ImageFile, LabelMaps, MaskCache, MaskStore, MaskStoreError, build_store
from .fill import Filled, fill_cache

__all__ = ['Filled', 'ImageFile', 'LabelMaps', 'MaskCache', 'MaskStore', 'MaskStoreError', 'build_store', 'fill_cache']

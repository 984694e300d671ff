from .felzenszwalb import FelzenszwalbMasks
from .no_masks import NoMasks

__all__ = ['FelzenszwalbMasks', 'NoMasks']

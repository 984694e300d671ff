from .felzenszwalb import FelzenszwalbMasks
from .no_masks import NoMasks
from .sam import SAMMasks
from .stored import CachedMasks, LabelMapMasks

__all__ = ['CachedMasks', 'FelzenszwalbMasks', 'LabelMapMasks', 'NoMasks', 'SAMMasks']

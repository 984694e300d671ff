from .felzenszwalb import FelzenszwalbMasks
from .no_masks import NoMasks
from .sam import SAMMasks
from .stored import CachedMasks, CocoRLEMasks, LabelMapMasks

__all__ = ['CachedMasks', 'CocoRLEMasks', 'FelzenszwalbMasks', 'LabelMapMasks', 'NoMasks', 'SAMMasks']

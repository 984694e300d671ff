from .carry_masks import CarryMasks
from .load_masks import LoadMasks, PackMasks
from .pad_to_patch import PadToPatch
from .progressive_crop import ProgressivePairedRandomCrop

__all__ = ['CarryMasks', 'LoadMasks', 'PackMasks', 'PadToPatch', 'ProgressivePairedRandomCrop']

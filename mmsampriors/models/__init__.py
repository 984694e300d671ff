"""The method: SPDModel, SPF unit, losses, feature extractors and mask sources, in mmagic's registries."""

from .feature_extractors import EfficientNetExtractor, SAMEncoderExtractor, VGGExtractor
from .losses import DistillationBatch, DistillationLoss, SGRLoss, SPDLoss
from .mask_sources import (
    CachedMasks,
    CocoRLEMasks,
    FelzenszwalbMasks,
    LabelMapMasks,
    MaskSource,
    NoMasks,
    SAMMasks,
    StoredMaskSource,
)
from .networks import DnCNN
from .regions import Regions
from .schedules import JointSchedule, Phase, TwoStageSchedule
from .spd_model import SPDModel
from .spf import SPFUnit

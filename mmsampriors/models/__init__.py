"""The method: SPDModel, SPF unit, losses, analyzers and mask sources, in mmagic's registries."""

from .analyzers import *  # noqa: F401, F403
from .losses import SGRLoss, SPDLoss
from .mask_sources import *  # noqa: F401, F403
from .networks import *  # noqa: F401, F403
from .regions import Regions
from .schedules import JointSchedule, Phase, TwoStageSchedule
from .spd_model import SPDModel
from .spf_unit import SPFUnit

__all__ = ['JointSchedule', 'Phase', 'Regions', 'SGRLoss', 'SPDLoss', 'SPDModel', 'SPFUnit', 'TwoStageSchedule']

from .pull_scale import PullScale
from .sgr_loss import SGRLoss
from .spd_loss import SPDLoss

__all__ = ['PullScale', 'SGRLoss', 'SPDLoss']

from .sgr_loss import SGRLoss
from .spd_loss import SPDLoss

__all__ = ['SGRLoss', 'SPDLoss']

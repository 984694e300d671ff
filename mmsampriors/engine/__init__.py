"""Hooks, and what the tools do to a config and a checkpoint."""

from mmsampriors.engine.optim.cpu_autocast import CPUAmpOptimWrapper

from . import hooks
from .hooks import *  # noqa: F403

__all__ = ['CPUAmpOptimWrapper', *hooks.__all__]

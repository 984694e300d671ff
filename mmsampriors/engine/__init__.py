"""Hooks, and what the tools do to a config and a checkpoint."""

from . import hooks
from .hooks import *  # noqa: F403
from .optim import CPUAmpOptimWrapper

__all__ = ['CPUAmpOptimWrapper', *hooks.__all__]

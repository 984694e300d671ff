"""Hooks, and what the tools do to a config and a checkpoint."""

from . import hooks
from .optim import CPUAmpOptimWrapper

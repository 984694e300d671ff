"""The model inside DDP and other wrappers."""

from mmengine.model import is_model_wrapper
from torch import nn


def unwrapped(model: nn.Module) -> nn.Module:
    """The model that a wrapper, such as MMDistributedDataParallel, holds; the model itself where there is none."""
    return model.module if is_model_wrapper(model) else model

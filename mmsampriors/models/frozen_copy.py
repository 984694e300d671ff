"""Networks that have the weights of others."""

from copy import deepcopy

import torch
from torch import nn


def frozen_copy(network: nn.Module) -> nn.Module:
    """Copies a network whose weights become buffers: saved with the model, and in no optimizer and no gradient.

    Averaging of weights (EMA) copies buffers, so that the copy stays what it is.

    Args:
        network (Module): Left as it is.

    Returns:
        Module: In eval mode; its state dict has the same keys.
    """
    copy = deepcopy(network).eval()
    for module in copy.modules():
        for name, weight in list(module._parameters.items()):
            if weight is not None:
                del module._parameters[name]
                module.register_buffer(name, weight.detach())
    return copy


def same_architecture(network: nn.Module, other: nn.Module) -> bool:
    """Whether the weights of one fit the other: of the same names and shapes, in modules of the same kind."""
    ours, theirs = ({name: weight.shape for name, weight in one.state_dict().items()} for one in (network, other))
    return type(network) is type(other) and ours == theirs


@torch.no_grad()
def blend(network: nn.Module, first: nn.Module, share: float) -> None:
    """Gives a network the weighted mean of its own weights and another's; whole numbers stay its own.

    Args:
        network (Module): Changed in place.
        first (Module): Of the same state dict.
        share (float): Of the network's own weights in the mean, in [0, 1].
    """
    others = first.state_dict()
    for name, weight in network.state_dict().items():
        if weight.is_floating_point():
            weight.copy_(torch.lerp(others[name].to(weight), weight, share))

"""Networks that have the weights of others."""

from copy import deepcopy

from torch import nn

from .checkpoints import generator_weights, load_state_dict


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


def load_network(network: nn.Module, checkpoint: str, name: str, owner: str):
    """Gives a network the weights that mmagic saved of the same network, in place.

    Args:
        network (Module): What takes them.
        checkpoint (str): File or URL, with ``generator.*``.
        name (str): What the checkpoint is, for errors.
        owner (str): What the network is, for errors.

    Raises:
        ValueError: They do not fit.
    """
    try:
        network.load_state_dict(generator_weights(load_state_dict(checkpoint)))
    except RuntimeError as error:
        raise ValueError(f'{name} {checkpoint} does not fit {owner}: {error}') from None

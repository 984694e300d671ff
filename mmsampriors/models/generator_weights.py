"""The weights of the network that restores, among those of mmagic's model."""

from typing import Dict

from torch import Tensor, nn

PREFIX = 'generator.'


def load_generator(network: nn.Module, weights: Dict[str, Tensor], source: str, owner: str):
    """Gives a network the weights that mmagic saved of the same network, in place.

    Args:
        network (Module): What takes them.
        weights (dict[str, Tensor]): A state dict with ``generator.*``.
        source (str): What they come from, for errors.
        owner (str): What the network is, for errors.

    Raises:
        ValueError: They do not fit.
    """
    own = {key[len(PREFIX) :]: value for key, value in weights.items() if key.startswith(PREFIX)}
    if not own:
        raise ValueError(
            f'{source} holds no student: none of its {len(weights)} entries begins with {PREFIX}; the first is '
            f'{next(iter(weights), "missing")}'
        )
    try:
        network.load_state_dict(own)
    except RuntimeError as error:
        raise ValueError(f'{source} does not fit {owner}: {error}') from None

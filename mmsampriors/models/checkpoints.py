"""Loading weights without running code that a file brings."""

from pathlib import Path
from typing import Dict

import torch
from torch import Tensor

GENERATOR = 'generator.'


def load_state_dict(path) -> Dict[str, Tensor]:
    """The state dict in a file.

    A ``.safetensors`` file holds no code. Any other is read with ``weights_only=True``, whatever the torch: mmengine's
    own loader leaves that to torch's default, which is False before 2.6.

    Args:
        path (str | Path): ``.safetensors``, or what ``torch.save`` wrote.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is cut off, no checkpoint, or would run code to be loaded.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f'there is no checkpoint {path}')
    try:
        if path.suffix == '.safetensors':
            from safetensors.torch import load_file

            return load_file(path)
        # mmengine's module brings the repair that names its HistoryBuffer as safe.
        import mmengine.runner.checkpoint  # noqa: F401

        loaded = torch.load(path, map_location='cpu', weights_only=True)
    except Exception as error:
        raise ValueError(
            f'{path} cannot be read as weights ({error}). It may be cut off, or hold objects that only their own code '
            'can load, which is not run; training checkpoints of mmengine need torch 2.4 or later'
        ) from None
    state = loaded.get('state_dict', loaded) if isinstance(loaded, dict) else None
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise ValueError(f'{path} holds no state dict of tensors')
    return state


def generator_weights(state_dict: Dict[str, Tensor]) -> Dict[str, Tensor]:
    """The weights of the network that restores, without their prefix."""
    return {key[len(GENERATOR) :]: value for key, value in state_dict.items() if key.startswith(GENERATOR)}

"""Loading weights without running code that a file brings."""

from pathlib import Path
from typing import Dict

from mmengine.runner import CheckpointLoader
from torch import Tensor

GENERATOR = 'generator.'


def load_state_dict(path) -> Dict[str, Tensor]:
    """The state dict in a file.

    A ``.safetensors`` file holds no code. Any other is read as plain data: by torch's default since 2.6, and before by
    our repair of mmengine's loader.

    Args:
        path (str | Path): ``.safetensors``, or what ``torch.save`` wrote; for the latter also a URL.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is cut off, no checkpoint, or would run code to be loaded.
    """
    name = str(path)
    if '://' not in name and not Path(name).is_file():
        raise FileNotFoundError(f'there is no checkpoint {name}')
    try:
        if name.endswith('.safetensors'):
            from safetensors.torch import load_file

            return load_file(name)
        loaded = CheckpointLoader.load_checkpoint(name, map_location='cpu')
    except Exception as error:
        raise ValueError(
            f'{name} cannot be read as weights ({error}). It may be cut off, or hold objects that only their own code '
            'can load, which is not run'
        ) from None
    state = loaded.get('state_dict', loaded) if isinstance(loaded, dict) else None
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise ValueError(f'{name} holds no state dict of tensors')
    return state


def generator_weights(state_dict: Dict[str, Tensor]) -> Dict[str, Tensor]:
    """The weights of the network that restores, without their prefix."""
    return {key[len(GENERATOR) :]: value for key, value in state_dict.items() if key.startswith(GENERATOR)}

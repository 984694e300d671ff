"""Loading the weights of an analyzer, with errors that say the way out."""

import os.path as osp
from typing import Callable, Dict

from mmengine.logging import print_log
from torch import Tensor

from mmsampriors.checkpoints import read_weights

RANDOM = 'random'


def load_weights_file(path: str, key: str) -> Dict[str, Tensor]:
    """Reads a state dict.

    Args:
        path (str): ``*.safetensors``, or a file written by ``torch.save``.
        key (str): Config key that names the file, for the error.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file is not a state dict, or is cut off.
    """
    if not osp.isfile(path):
        raise FileNotFoundError(f'{key} names {path}, and there is no such file')
    try:
        return read_weights(path)
    except ValueError as error:
        raise ValueError(f'{key} names {path}, which cannot be read as weights: {error}') from error


def warn_random(name: str):
    """Says loudly that an analyzer knows nothing."""
    print_log(
        f'{name} has RANDOM weights: its features mean nothing, and so does SGR. This is for tests only.',
        logger='current',
        level=30,
    )


def download(fetch: Callable[[], Dict[str, Tensor]], name: str, key: str) -> Dict[str, Tensor]:
    """Calls ``fetch`` and turns a failed download into an error that names the way out."""
    try:
        return fetch()
    except (OSError, RuntimeError) as error:
        raise RuntimeError(
            f'the weights of {name} could not be downloaded ({error}). Download them elsewhere and name '
            f'the file in {key}, or use an analyzer that needs no download: '
            "model.spd.analyzer.type='EfficientNetAnalyzer'"
        ) from error

"""Reading checkpoints and weights, with every byte checked and no code run."""

import os
import pickle
import re
import zipfile
from os import path as osp
from typing import Dict

import torch
from packaging.version import Version

ZIP = b'PK'


def read_checkpoint(path, map_location='cpu') -> dict:
    """Reads a checkpoint or a state dict.

    torch compares no checksum when it reads (torch 2.14): a flipped bit becomes another weight. So the checksums that
    ``torch.save`` has put into the file are compared first.

    Args:
        path (str | Path): A file that ``torch.save`` wrote.
        map_location: As in ``torch.load``. Defaults to 'cpu'.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is empty, cut off or damaged, is no file of ``torch.save``, holds other objects than tensors and
            plain values, or no dict.
    """
    path = osp.expanduser(os.fspath(path))
    if not osp.isfile(path):
        raise FileNotFoundError(f'there is no checkpoint {path} (looked in {os.getcwd()})')
    size = osp.getsize(path)
    if not size:
        raise ValueError(f'the checkpoint {path} is empty (0 bytes): copy it again, or take an earlier one')
    try:
        _compare_checksums(path)
        checkpoint = _load(path, map_location)
    except pickle.UnpicklingError as error:
        raise ValueError(_refused(path, size, error)) from error
    except Exception as error:  # whatever damaged bytes lead torch and zipfile to
        raise ValueError(
            f'the checkpoint {path} ({size} bytes) is damaged or cut off: copy it again, or take an earlier one '
            f'({_first_line(error)})'
        ) from error
    if not isinstance(checkpoint, dict):
        raise ValueError(
            f'the checkpoint {path} holds a {type(checkpoint).__name__}; expected a dict of tensors, or one that '
            "has it under 'state_dict'"
        )
    return checkpoint


def read_weights(path) -> Dict[str, torch.Tensor]:
    """Reads the state dict of a file.

    Args:
        path (str | Path): ``*.safetensors``, or what ``torch.save`` wrote, which may hold the state dict under
            ``state_dict``; for the latter also a URL.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: As for :func:`read_checkpoint`, or it holds other values than tensors.
    """
    name = os.fspath(path)
    if '://' in name:
        from mmengine.runner import CheckpointLoader

        loaded = CheckpointLoader.load_checkpoint(name, map_location='cpu')
    else:
        loaded = _read_safetensors(name) if name.endswith('.safetensors') else read_checkpoint(name)
    weights = loaded.get('state_dict', loaded)
    values = list(weights.values()) if isinstance(weights, dict) else []
    if not values or not all(isinstance(value, torch.Tensor) for value in values):
        raise ValueError(
            f'the checkpoint {name} holds no state dict: expected a dict of tensors, or one that has it under '
            "'state_dict'"
        )
    return weights


def _read_safetensors(path):
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if not osp.isfile(path):
        raise FileNotFoundError(f'there are no weights {path} (looked in {os.getcwd()})')
    try:
        return load_file(path)
    except SafetensorError as error:
        raise ValueError(
            f'the weights {path} ({osp.getsize(path)} bytes) are damaged or cut off: copy the file again ({error})'
        ) from None


def _load(path, map_location):
    if Version(torch.__version__) < Version('2.6'):
        # Until then weights_only refused what mmengine's checkpoints hold.
        from . import plain_pickle

        return torch.load(path, map_location=map_location, pickle_module=plain_pickle, weights_only=False)
    return torch.load(path, map_location=map_location, weights_only=True)


def _compare_checksums(path):
    """Raises where a member of the archive has another checksum than when it was written."""
    with open(path, 'rb') as file:
        if file.read(len(ZIP)) != ZIP:
            return  # torch before 1.6 wrote no checksums
    with zipfile.ZipFile(path) as archive:
        damaged = archive.testzip()
    if damaged:
        raise ValueError(f'the checksum of {damaged} is wrong')


def _refused(path, size, error) -> str:
    """What to say of a file that torch does not unpickle: bytes that are no pickle, or objects that run code."""
    wanted = re.findall(r'GLOBAL (\S+)', str(error))
    if not wanted:
        return (
            f'the checkpoint {path} ({size} bytes) is no file of torch.save, or is damaged: copy it again, or take '
            f'another one ({_first_line(error)})'
        )
    return (
        f'the checkpoint {path} holds an object of {wanted[0]}, and loading that could run code, so it is refused. '
        'If you trust the file, keep its weights alone: python -c "import torch; '
        f"torch.save(torch.load('{path}', weights_only=False)['state_dict'], 'weights.pth')\""
    )


def _first_line(error) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]

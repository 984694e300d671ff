"""Reading checkpoints and weights, with every byte checked and no code run."""

import hashlib
import os
import pickle
import re
import urllib.request
import zipfile
from os import path as osp
from pathlib import Path, PurePosixPath
from typing import Dict, Optional, Tuple
from urllib.error import URLError
from urllib.parse import unquote, urlsplit

import torch

from .compat.patching import release_of
from .files import refuse_other_hash, sha256_of, written_whole
from .progress import progress_bar

SECONDS = 60  # without a byte, after which a server is given up
CHUNK = 2**20  # bytes


def download(url: str, digest: Optional[str] = None) -> Path:
    """Fetches a file once into ``torch.hub``'s folder of checkpoints, under its own name.

    Args:
        url (str): Of http, https or file.
        digest (str, optional): How its SHA-256 begins.

    Raises:
        FileNotFoundError: It cannot be downloaded.
    """
    return _download(url, _folder() / _name_of(url), digest)


def download_checkpoint(url: str, check: bool = False, remedy: str = '') -> Path:
    """As :func:`download`, for any URL: each has a folder of its own, for ``iter_1.pth`` is the name of many files.

    Where a hash ends the name, as in model zoos, the file lies where torch.hub puts it.

    Args:
        url (str): Of http or https.
        check (bool): Whether that hash is what the SHA-256 must begin with, as OpenMMLab's and torchvision's names have
            it.
        remedy (str): What else can be done where it cannot be downloaded; the end of the error.
    """
    name = _name_of(url)
    ending = re.search('-([0-9a-f]{8,})$', Path(name).stem)
    if ending:
        return _download(url, _folder() / name, ending[1] if check else None, remedy)
    return _download(url, _folder() / hashlib.sha256(url.encode()).hexdigest()[:16] / name, None, remedy)


def _folder():
    return Path(torch.hub.get_dir()) / 'checkpoints'


def _name_of(url):
    return PurePosixPath(unquote(urlsplit(url).path)).name or 'checkpoint'


def _download(url, target, digest=None, remedy=''):
    """One process downloads, the others of this machine wait for it."""
    from filelock import FileLock

    if target.is_file():
        return target
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(target.with_name(f'.{target.name}.lock')):
            if not target.is_file():  # another process may have been faster
                with written_whole(target) as part:
                    _fetch(url, part, digest)
    except (URLError, OSError, ValueError) as error:
        raise FileNotFoundError(
            f'{url} cannot be downloaded to {target} ({error}): fetch it elsewhere and put it there, or '
            f'{remedy or "give its path as checkpoint"}'
        ) from error
    return target


def _fetch(url, part, digest):
    request = urllib.request.Request(url, headers={'User-Agent': 'mmsampriors'})
    with urllib.request.urlopen(request, timeout=SECONDS) as response, open(part, 'wb') as file:
        length = int(response.headers.get('Content-Length') or 0)
        with progress_bar(total=length or None, unit='B', unit_scale=True, desc=_name_of(url)) as bar:
            while chunk := response.read(CHUNK):
                bar.update(file.write(chunk))
    if length and part.stat().st_size != length:
        raise ValueError(f'{part.stat().st_size} of its {length} bytes came')
    if digest and not sha256_of(part).startswith(digest):
        raise ValueError(f'its SHA-256 is {sha256_of(part)}, and should begin with {digest}')


ZIP = b'PK'


#: What a state dict lies under: as mmengine writes it, then as BasicSR does, which keeps averaged weights too.
CONTAINERS = ('state_dict', 'params_ema', 'params')
GENERATOR = 'generator.'  # before the names of a network's weights, as mmagic saves them


def read_checkpoint(path, map_location='cpu') -> dict:
    """Reads a checkpoint or a state dict.

    torch compares no checksum when it reads (torch 2.14): a flipped bit becomes another weight. So the checksums that
    ``torch.save`` has put into the file are compared first.

    Args:
        path (str | Path): A file that ``torch.save`` wrote, or ``*.safetensors``.
        map_location: As in ``torch.load``. Defaults to 'cpu'.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is empty, cut off or damaged, is no file of ``torch.save``, holds other objects than tensors and
            plain values, or no dict.
    """
    path = osp.expanduser(os.fspath(path))
    if path.endswith('.safetensors'):
        return _read_safetensors(path, None)
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


def read_weights(path, sha256: Optional[str] = None) -> Dict[str, torch.Tensor]:
    """Reads the state dict of a file; see :func:`state_dict_of`.

    Args:
        path (str | Path): ``*.safetensors``, or what ``torch.save`` wrote; or the URL of such a file.
        sha256 (str, optional): Of a safetensors file, as its config has it under ``HASH_KEY``.

    Raises:
        FileNotFoundError: There is no such file, or it cannot be downloaded.
        ValueError: As for :func:`read_checkpoint`, or it holds other values than tensors.
    """
    return state_dict_of(*_read(path, sha256))[0]


def read_generator(path, sha256: Optional[str] = None) -> Tuple[Dict[str, torch.Tensor], str]:
    """Reads the weights of a restoration network; arguments and errors are those of :func:`read_weights`.

    Returns:
        tuple[dict[str, Tensor], str]: As of :func:`generator_weights`.
    """
    return generator_weights(*_read(path, sha256))


def _read(path, sha256):
    name = os.fspath(local_file(path))
    return (_read_safetensors(name, sha256) if name.endswith('.safetensors') else read_checkpoint(name)), name


def state_dict_of(checkpoint: dict, source) -> Tuple[Dict[str, torch.Tensor], str]:
    """The state dict that a checkpoint is or holds, without the prefix ``module.`` of DDP.

    Args:
        checkpoint (dict): As read.
        source (str): Where it comes from, for the error.

    Returns:
        tuple[dict[str, Tensor], str]: The state dict, and which of ``CONTAINERS`` it lay under; '' for none.

    Raises:
        ValueError: It holds other values than tensors.
    """
    container = next((key for key in CONTAINERS if isinstance(checkpoint.get(key), dict)), '')
    weights = checkpoint[container] if container else checkpoint
    if not weights or not all(isinstance(key, str) and isinstance(weights[key], torch.Tensor) for key in weights):
        raise ValueError(
            f'the checkpoint {source} holds no state dict: expected a dict of tensors, or one that has it under '
            f'{", ".join(map(repr, CONTAINERS))}; its keys are {", ".join(map(str, list(checkpoint)[:5])) or "none"}'
        )
    return {name.removeprefix('module.'): value for name, value in weights.items()}, container


def generator_weights(checkpoint: dict, source) -> Tuple[Dict[str, torch.Tensor], str]:
    """The weights of a network as mmagic saves them, of a file of mmagic or of the network's authors.

    The authors' names are mmagic's without the prefix ``generator.``. Nothing else is guessed: what does not fit then
    is refused by whoever loads it.

    Args:
        checkpoint (dict): As read.
        source (str): Where it comes from, for the error.

    Returns:
        tuple[dict[str, Tensor], str]: ``generator.*``, and what else mmagic's file holds; and what was understood, such
        as '664 weights, bare keys, of params_ema'; '' for a file of mmagic.

    Raises:
        ValueError: As for :func:`state_dict_of`.
    """
    weights, container = state_dict_of(checkpoint, source)
    if any(name.startswith(GENERATOR) for name in weights):
        return weights, ''
    form = f'{len(weights)} weights, bare keys' + (f', of {container}' if container else '')
    return {GENERATOR + name: value for name, value in weights.items()}, form


def local_file(path):
    """The file of a path, or of a URL, which is downloaded once.

    Raises:
        FileNotFoundError: It cannot be downloaded.
        ValueError: It is a URL of another kind.
    """
    name = os.fspath(path)
    if '://' not in name:
        return path
    if not re.match('https?://', name):
        raise ValueError(f'a checkpoint is a file or a URL that begins with http:// or https://, found {name}')
    return download_checkpoint(name)


def _read_safetensors(path, sha256):
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if not osp.isfile(path):
        raise FileNotFoundError(f'there are no weights {path} (looked in {os.getcwd()})')
    refuse_other_hash(path, sha256)
    try:
        return load_file(path)
    except SafetensorError as error:
        raise ValueError(
            f'the weights {path} ({osp.getsize(path)} bytes) are damaged or cut off: copy the file again ({error})'
        ) from None


def _load(path, map_location):
    if release_of(torch.__version__) < (2, 6):
        # Until then weights_only refused what mmengine's checkpoints hold.
        import mmsampriors.compat.plain_data as plain_pickle

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
    wanted = re.findall(r'(?:GLOBAL|asks for) ([\w.]+)', str(error))  # by torch, and before 2.6 by compat.plain_data
    if not wanted:
        return (
            f'the checkpoint {path} ({size} bytes) is no file of torch.save, or is damaged: copy it again, or take '
            'another one'
        )
    return (
        f'the checkpoint {path} holds an object of {wanted[0]}, and loading that could run code, so it is refused. '
        'If you trust the file, keep its weights alone: python -c "import torch; '
        f"torch.save(torch.load('{path}', weights_only=False)['state_dict'], 'weights.pth')\""
    )


def _first_line(error) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]

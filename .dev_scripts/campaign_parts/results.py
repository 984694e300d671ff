"""What a run has made, in a form that can be compared: a name to a digest of what must be equal bit by bit."""

import hashlib
import json
from pathlib import Path
from typing import Dict

import mmsampriors.compat  # noqa: F401  (lets torch read mmengine's checkpoints)

# isort: split
import mmengine.runner.checkpoint  # noqa: F401
import torch

from mmsampriors.masks.store.codec import Entry

#: Parts of a checkpoint that hold the state of the training. The others are times, paths and logs.
STATE = ('state_dict', 'ema_state_dict', 'optimizer', 'param_schedulers', 'sampler_seed')
#: Files that another run or a person goes on with. The others tell what was done and when: logs, pictures, and configs
#: that mmengine keeps, which bear the name of the trial.
KEPT = (
    '*.pth',
    '*.masks',
    'input/*.png',
    'target/*.png',
    'blur/*.png',
    'sharp/*.png',
    'student*.py',
    'last_checkpoint',
)
KEPT_RECORDS = ('pairs.json', 'crops.json', 'test_results.json', 'metrics.json')


def results_of(folder: Path) -> Dict[str, str]:
    """Digests of the files that a run has made and that another run or a person goes on with."""
    found = {}
    for path in sorted(folder.rglob('*')):
        if path.is_file() and any(map(path.match, (*KEPT, *KEPT_RECORDS))):
            # Caches of validation are named by the place of their photographs.
            name = str(path.relative_to(folder)).replace(str(folder).strip('/').replace('/', '_'), 'OUT')
            found[name] = _digest(path, folder)
    return found


def _digest(path, folder) -> str:
    if path.suffix == '.pth':
        content = torch.load(path, map_location='cpu', weights_only=True)
        return _hash({key: content[key] for key in STATE if key in content})
    text = path.read_bytes()
    if path.suffix == '.masks':
        entry = Entry(text)
        # Where the photograph was, and when it was written, is another thing in another folder.
        return _hash([entry.size, entry.digest, entry.provenance['sha256'], [*map(_bytes, entry.unpacked()[1:])]])
    if path.name == 'last_checkpoint':
        return Path(text.decode()).name
    if path.name == 'test_results.json':
        return _hash(json.loads(text)['results'])
    return hashlib.sha256(text.replace(str(folder).encode(), b'OUT')).hexdigest()


def _bytes(array) -> bytes:
    return array.tobytes()


def _hash(node) -> str:
    digest = hashlib.sha256()
    _feed(digest, node)
    return digest.hexdigest()


def _feed(digest, node):
    if isinstance(node, dict):
        for key in sorted(node, key=str):
            digest.update(str(key).encode())
            _feed(digest, node[key])
    elif isinstance(node, (list, tuple)):
        for part in node:
            _feed(digest, part)
    elif isinstance(node, torch.Tensor):
        digest.update(f'{node.dtype}{tuple(node.shape)}'.encode() + node.contiguous().view(-1).numpy().tobytes())
    else:
        digest.update(repr(node).encode())

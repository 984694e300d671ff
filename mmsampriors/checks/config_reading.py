"""Reading a config file, and where it cannot be read, which file and line is at fault; the data sets in it."""

import codecs
import logging
import os
import os.path as osp
import traceback
from typing import Iterator, Optional, Tuple

from mmengine.config import Config
from mmengine.logging import print_log

from mmsampriors.command_line import message_of
from mmsampriors.compat.upstream import base_files

SUFFIXES = ('.py', '.yml', '.yaml', '.json')


def parse_config(path: str) -> Config:
    """Reads a config file.

    Raises:
        FileNotFoundError: There is none.
        ValueError: It is no config, says nothing, or it or a file that it inherits cannot be read.
    """
    if not osp.isfile(path):
        raise FileNotFoundError(f'there is no config {path} (looked in {os.getcwd()})')
    if not path.endswith(SUFFIXES):
        raise ValueError(
            f'a config is a file of {", ".join(SUFFIXES)}, found {path}: the config comes first, a checkpoint after it'
        )
    try:
        _refuse_mark(path)
        cfg = Config.fromfile(path)
    except (Exception, SystemExit) as error:  # whatever is raised by the code in it
        fault = _first_fault(path) or (path, error)
        raise ValueError(f'the config {fault[0]}{_line_of(*fault)} cannot be read: {message_of(fault[1])}') from error
    if not cfg:
        raise ValueError(f'the config {path} is empty')
    check_sections(cfg)
    return cfg


#: Keys of a config that hold a dict.
SECTIONS = (
    *('model', 'train_cfg', 'optim_wrapper', 'default_hooks', 'env_cfg', 'randomness', 'val_cfg', 'test_cfg'),
    *('train_dataloader', 'log_processor', 'auto_scale_lr'),
)
#: Those that hold a dict or several.
LISTS = ('param_scheduler', 'val_dataloader', 'test_dataloader')
#: Keys with few values.
CHOICES = dict(
    launcher=('none', 'pytorch', 'slurm', 'mpi'), log_level=('DEBUG', 'INFO', 'WARNING', 'ERROR', 'CRITICAL')
)


def check_sections(cfg: Config):
    """Refuses a config whose sections are of another kind.

    Raises:
        ValueError: One is, with its key.
    """
    for key in SECTIONS:
        if not isinstance(cfg.get(key, {}), (dict, type(None))):
            raise ValueError(f'{key} must be a dict, found {cfg[key]!r}')
    for key in LISTS:
        if not isinstance(cfg.get(key, {}), (dict, type(None))) and not _are_dicts(cfg[key]):
            raise ValueError(f'{key} must be a dict or a list of dicts, found {cfg[key]!r:.200}')
    hooks = cfg.get('custom_hooks') or []
    if not isinstance(hooks, list) or not _are_dicts(hooks):
        raise ValueError(f'custom_hooks must be a list of dicts, found {hooks!r:.200}')
    for key, values in CHOICES.items():
        if cfg.get(key, values[0]) not in values:
            raise ValueError(f'{key} must be one of {values}, found {cfg[key]!r}')


def _are_dicts(value) -> bool:
    return isinstance(value, (list, tuple)) and all(isinstance(one, dict) for one in value)


def _refuse_mark(path: str):
    """Refuses a byte order mark, of which Python's parser only says that it cannot be printed."""
    with open(path, 'rb') as file:
        if path.endswith('.py') and file.read(3) == codecs.BOM_UTF8:
            raise ValueError('it begins with a byte order mark, as some editors write: save it as UTF-8 without one')


def _first_fault(path: str, above: tuple = ()) -> Optional[Tuple[str, Exception]]:
    """The innermost file that cannot be read of a config and all that it inherits, and its error."""
    path = osp.abspath(path)
    if path in above:
        return above[-1], ValueError(f'it inherits {path}, which inherits it in turn')
    try:
        _refuse_mark(path)
        bases = base_files(path)
    except (Exception, SystemExit) as error:
        return path, error
    for base in bases:
        if not osp.isfile(base):
            return path, ValueError(f'it inherits {base}, and there is no such file')
        fault = _first_fault(base, (*above, path))
        if fault:
            return fault
    try:
        _refuse_mark(path)
        Config.fromfile(path, import_custom_modules=False)
    except (Exception, SystemExit) as error:
        return path, error
    return None


def _line_of(path: str, error: Exception) -> str:
    """Where in its file an error was raised; nothing where that is not known."""
    frames = traceback.walk_tb(error.__traceback__)
    lines = [line for frame, line in frames if osp.abspath(frame.f_code.co_filename) == osp.abspath(path)]
    # mmengine 0.10.7 puts another SyntaxError over Python's.
    lines += [one.lineno for one in (error, error.__context__) if isinstance(one, SyntaxError) and one.lineno]
    return f', line {lines[-1]},' if lines else ''


def datasets_of(loaders) -> Iterator[dict]:
    """The configs of the data sets of one loader, of several or of none, inside wrappers such as RepeatDataset."""
    for loader in loaders if isinstance(loaders, (list, tuple)) else [loaders]:
        if loader and loader.get('dataset'):
            yield from _unwrapped(loader['dataset'])


def _unwrapped(dataset: dict) -> Iterator[dict]:
    inner = dataset.get('datasets') or ([dataset['dataset']] if 'dataset' in dataset else None)
    if inner is None:
        yield dataset
    for one in inner or ():
        yield from _unwrapped(one)


def nodes_of(node, path: str) -> Iterator[Tuple[str, object]]:
    """A part of a config and all that is below it, each with its dotted key; the outer before the inner."""
    yield path, node
    below = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, (list, tuple)) else ()
    for key, value in below:
        yield from nodes_of(value, f'{path}.{key}')


def warn(message: str):
    """Logs a warning of a check."""
    print_log(message, logger='current', level=logging.WARNING)

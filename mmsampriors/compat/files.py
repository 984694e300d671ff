"""Repairs to how mmengine reads and writes files."""

import contextlib
import errno
import importlib
import os
import os.path as osp
import sys

import numpy as np

from mmsampriors.files import written_whole

from .patching import after_import, in_place_of, release_of, up_to

BACKEND_MODULE = 'mmengine.fileio.backends.local_backend'
TEXT_MODULE = 'mmengine.fileio.parse'
DATASET_MODULE = 'mmengine.dataset.base_dataset'
CHECKPOINTS_MODULE = 'mmengine.runner.checkpoint'
CHECKPOINT_HOOK_MODULE = 'mmengine.hooks.checkpoint_hook'


@up_to('mmengine', '0.10.7', after=CHECKPOINTS_MODULE)
def name_safe_globals():
    """mmengine 0.10.7 stores ``HistoryBuffer`` objects, which torch 2.6 and later refuse to load (``--resume`` fails).

    Names them as safe instead of switching ``weights_only`` off, once torch is imported for loading checkpoints anyway.
    Can go when mmengine stores plain lists.
    """
    import torch
    from mmengine.logging import HistoryBuffer

    from .plain_data import statistic_of_history

    if not hasattr(torch.serialization, 'add_safe_globals'):
        return
    statistic_of_history.__module__ = 'builtins'
    statistic_of_history.__qualname__ = statistic_of_history.__name__ = 'getattr'
    multiarray = importlib.import_module('numpy.core.multiarray' if np.__version__ < '2' else 'numpy._core.multiarray')
    dtypes = {type(np.dtype(name)) for name in ('bool', 'uint8', 'int32', 'int64', 'float16', 'float32', 'float64')}
    numpy_names = [np.ndarray, np.dtype, *dtypes, multiarray._reconstruct, multiarray.scalar]
    torch.serialization.add_safe_globals([HistoryBuffer, statistic_of_history, *numpy_names])


class _TorchForCheckpoints:
    """torch, but for ``load``, which reads plain data only."""

    def __init__(self, torch):
        self._torch = torch

    def __getattr__(self, name):
        return getattr(self._torch, name)

    def load(self, *args, **kwargs):
        if release_of(self._torch.__version__) >= (2, 6):
            return self._torch.load(*args, **{**kwargs, 'weights_only': True})
        from . import plain_data as plain_pickle

        return self._torch.load(*args, **{'pickle_module': plain_pickle, 'weights_only': False, **kwargs})


@up_to('mmengine', '0.10.7', after=CHECKPOINTS_MODULE)
def read_checkpoints_as_plain_data():
    """mmengine 0.10.7 runs what a checkpoint holds: by URL with any torch, every one before torch 2.6.

    It also runs the old config that a checkpoint may hold under ``meta.config`` when a run is resumed, loads a local
    file in which bits have flipped, and does not name one that is cut off, empty or refused. Can go when mmengine says
    ``weights_only=True``, compares checksums and names the file.
    """
    import torch

    from mmsampriors.checkpoints import local_file, read_checkpoint

    module = sys.modules[CHECKPOINTS_MODULE]
    if module.torch is not torch:
        return

    def load_from_local(filename, map_location=None):
        checkpoint = read_checkpoint(filename, map_location)
        if isinstance(checkpoint.get('meta'), dict):
            checkpoint['meta'].pop('config', None)  # mmengine's Runner runs it when it resumes
        return checkpoint

    def load_from_http(filename, map_location=None, model_dir=None, progress=None):
        return load_from_local(local_file(filename), map_location)

    module.torch, module.load_from_http = _TorchForCheckpoints(torch), load_from_http
    module.CheckpointLoader.register_scheme('', load_from_local, force=True)
    module.CheckpointLoader.register_scheme(('http://', 'https://'), load_from_http, force=True)


@up_to('mmengine', '0.10.7', after=DATASET_MODULE)
def name_files_that_cannot_be_loaded():
    """mmengine 0.10.7 does not say of which sample a pipeline failed, and OpenCV not of which file.

    Can go when mmengine does.
    """

    @in_place_of(sys.modules[DATASET_MODULE].Compose, '__call__')
    def name_files(upstream, self, data):
        try:
            return upstream(self, data)
        except Exception as error:
            paths = [value for key, value in data.items() if key.endswith('_path') and isinstance(value, str)]
            if not paths or any(path in str(error) for path in paths):
                raise
            raise RuntimeError(
                f'{" or ".join(paths)} cannot be loaded ({type(error).__name__}: {str(error).strip()}): look whether '
                'the file is there and whole, and whether it fits the steps of the pipeline'
            ) from error


@up_to('mmengine', '0.10.7', after=TEXT_MODULE)
def read_lists_without_byte_order_mark():
    """mmengine 0.10.7 takes a byte order mark, which Windows writes, for a part of the first name in a list.

    Can go when mmengine reads lists as ``utf-8-sig``.
    """

    @in_place_of(sys.modules[TEXT_MODULE], 'get_text')
    def without_mark(upstream, *args, **kwargs):
        return upstream(*args, **kwargs).removeprefix('\ufeff')


def _read_yaml_as_plain_data():
    import yaml
    from mmengine.fileio.handlers import yaml_handler

    class PlainLoader(getattr(yaml, 'CSafeLoader', yaml.SafeLoader)):
        """Reads values, and the tuples that mmengine writes."""

    tuples = 'tag:yaml.org,2002:python/tuple'
    PlainLoader.add_constructor(tuples, lambda loader, node: tuple(loader.construct_sequence(node, deep=True)))
    yaml_handler.Loader = PlainLoader


def read_yaml_as_plain_data():
    """mmengine 0.10.7 reads YAML with the loader that runs code (``!!python/object/apply``), whoever wrote the file."""
    after_import('mmengine.fileio.handlers.yaml_handler', _read_yaml_as_plain_data)


@up_to('mmengine', '0.10.7', after=DATASET_MODULE)
def take_no_folder_for_meta_information():
    """mmengine 0.10.7 reads the file ``gopro`` where a config says dataset_type='gopro', and fails at a folder.

    Can go when its BaseDataset takes texts for texts.
    """
    from mmengine.dataset import base_dataset

    @in_place_of(base_dataset, 'list_from_file')
    def refuse_folder(upstream, path, *args, **kwargs):
        if os.path.isdir(path):
            raise FileNotFoundError(errno.ENOENT, 'expected a file, and this is a folder', path)
        return upstream(path, *args, **kwargs)


@up_to('mmengine', '0.10.7', after=BACKEND_MODULE)
def list_files_in_the_order_of_their_names():
    """mmengine 0.10.7 lists a folder in the order of the file system, and mmagic's data sets keep it.

    The same seed then gives other batches on another disk. Can go when mmengine sorts.
    """

    @in_place_of(sys.modules[BACKEND_MODULE].LocalBackend, 'list_dir_or_file')
    def in_order(upstream, self, *args, **kwargs):
        return iter(sorted(upstream(self, *args, **kwargs)))


@contextlib.contextmanager
def _open_whole(path, mode):
    with written_whole(osp.realpath(path)) as part, open(part, mode) as file:
        yield file


def _note_last_checkpoint_whole():
    sys.modules[CHECKPOINT_HOOK_MODULE].open = _open_whole


def _write_files_whole():
    @in_place_of(sys.modules[BACKEND_MODULE].LocalBackend, 'put')
    def put_whole(upstream, self, obj, filepath):
        with written_whole(osp.realpath(filepath)) as part:
            upstream(self, obj, str(part))


@up_to('mmengine', '0.10.7')
def write_files_whole():
    """mmengine 0.10.7 writes checkpoints in place: a run killed meanwhile leaves a file that is cut off.

    The mended backend writes beside the target and renames. The note of the last checkpoint, the only file that the
    hook of checkpoints opens, is written so too. A symbolic link stays one: what it leads to is
    replaced. Can go when mmengine does so.
    """
    after_import(BACKEND_MODULE, _write_files_whole)
    after_import(CHECKPOINT_HOOK_MODULE, _note_last_checkpoint_whole)

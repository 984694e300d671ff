"""Repairs to reading: checkpoints as plain data and with every byte checked, images with the file in the error."""

import importlib
import sys

import numpy as np
from packaging.version import Version

from .applying import after_import, up_to

BACKEND_MODULE = 'mmengine.fileio.backends.local_backend'
DATASET_MODULE = 'mmengine.dataset.base_dataset'
CHECKPOINTS_MODULE = 'mmengine.runner.checkpoint'


def _name_safe_globals():
    import torch
    from mmengine.logging import HistoryBuffer

    from mmsampriors.plain_pickle import statistic_of_history

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
        from mmsampriors import plain_pickle

        return self._torch.load(*args, **{'pickle_module': plain_pickle, 'weights_only': False, **kwargs})


def _load_plain_data():
    import torch

    _name_safe_globals()
    module = sys.modules[CHECKPOINTS_MODULE]
    if Version(torch.__version__) < Version('2.6') and module.torch is torch:
        module.torch = _TorchForCheckpoints(torch)


@up_to('mmengine', '0.10.7')
def load_plain_checkpoints():
    """mmengine 0.10.7 stores ``HistoryBuffer`` objects, which torch 2.6 and later refuse to load (``--resume`` fails).

    Names them as safe instead of switching ``weights_only`` off, once torch is imported for loading checkpoints anyway.
    Older torch runs whatever code a checkpoint names, unless it is told not to, and mmengine does not tell it: here it
    reads plain data only (``load_from``, ``--resume`` and our tools). Can go when mmengine stores plain lists and says
    ``weights_only=True``.
    """
    after_import(CHECKPOINTS_MODULE, _load_plain_data)


def _check_local_checkpoints():
    from mmsampriors.checkpoints import read_checkpoint

    loader = sys.modules[CHECKPOINTS_MODULE].CheckpointLoader
    loader.register_scheme('', lambda filename, map_location: read_checkpoint(filename, map_location), True)


@up_to('mmengine', '0.10.7')
def check_checkpoints_when_they_are_read():
    """mmengine 0.10.7 loads a local checkpoint in which bits have flipped, and says nothing.

    Of one that is cut off, empty or refused it shows torch's error, without the file. Can go when mmengine compares
    checksums and names the file.
    """
    after_import(CHECKPOINTS_MODULE, _check_local_checkpoints)


def _name_files():
    kind = sys.modules[DATASET_MODULE].Compose
    upstream_call = kind.__call__
    if getattr(upstream_call, 'mended', False):
        return

    def __call__(self, data):
        try:
            return upstream_call(self, data)
        except Exception as error:
            paths = [value for key, value in data.items() if key.endswith('_path') and isinstance(value, str)]
            if not paths or any(path in str(error) for path in paths):
                raise
            raise RuntimeError(
                f'{" or ".join(paths)} cannot be loaded ({type(error).__name__}: {str(error).strip()}): look whether '
                'the file is there and whole, and whether it fits the steps of the pipeline'
            ) from error

    __call__.mended = True
    kind.__call__ = __call__


@up_to('mmengine', '0.10.7')
def name_files_that_cannot_be_loaded():
    """mmengine 0.10.7 does not say of which sample a pipeline failed, and OpenCV not of which file.

    Can go when mmengine does.
    """
    after_import(DATASET_MODULE, _name_files)


def _list_in_order():
    LocalBackend = sys.modules[BACKEND_MODULE].LocalBackend
    upstream_list = LocalBackend.list_dir_or_file
    if getattr(upstream_list, 'mended', False):
        return

    def list_dir_or_file(self, *args, **kwargs):
        return iter(sorted(upstream_list(self, *args, **kwargs)))

    list_dir_or_file.mended = True
    LocalBackend.list_dir_or_file = list_dir_or_file


@up_to('mmengine', '0.10.7')
def list_files_in_the_order_of_their_names():
    """mmengine 0.10.7 lists a folder in the order of the file system, and mmagic's data sets keep it.

    The same seed then gives other batches on another disk. Can go when mmengine sorts.
    """
    after_import(BACKEND_MODULE, _list_in_order)

"""Repairs to upstream, applied when this module is imported and only where they are needed.

Each function names what it mends, in which version, and when it can go. It does nothing on a later version of the
package that it mends. All of them are idempotent. They must be in place before mmagic is imported: importing any
module of this package imports this one first.

Importing it imports nothing of OpenMMLab: each repair waits for the module that it mends. So ``import mmsampriors``
stays light for those who only restore photographs.
"""

import contextlib
import functools
import importlib.abc
import importlib.metadata
import importlib.util
import os
import os.path as osp
import sys
import types

import numpy as np
from packaging.version import Version

from .files import written_whole

OWN_NAME = __package__
OWN_FOLDER = osp.dirname(osp.abspath(__file__))
CONFIG_MODULE = 'mmengine.config.config'
BACKEND_MODULE = 'mmengine.fileio.backends.local_backend'
JPEG_MODULE = 'mmagic.datasets.transforms.random_degradations'
DATASET_MODULE = 'mmengine.dataset.base_dataset'
LOOPS_MODULE = 'mmagic.engine.runner.multi_loops'
CHECKPOINT_MODULE = 'mmengine.hooks.checkpoint_hook'
CHECKPOINTS_MODULE = 'mmengine.runner.checkpoint'
PREPROCESSOR_MODULE = 'mmagic.models.data_preprocessors.data_preprocessor'


def _up_to(package: str, version: str):
    """Lets a repair run only where the installed package is as old as the last version that has the fault."""

    def gate(repair):
        @functools.wraps(repair)
        def gated():
            if Version(importlib.metadata.version(package)) <= Version(version):
                repair()

        return gated

    return gate


class _AroundImport(importlib.abc.MetaPathFinder):
    """Runs the body of one module inside a context when it is imported, and leaves every other import alone."""

    def __init__(self, name, context, repair):
        self.name, self.context, self.repair = name, context, repair

    def find_spec(self, fullname, path=None, target=None):
        if fullname != self.name:
            return None
        # Those before this one, of the same module, have been asked already.
        others = sys.meta_path[sys.meta_path.index(self) + 1 :]
        spec = next(filter(None, (finder.find_spec(fullname, path, target) for finder in others)), None)
        if spec is not None:
            run_body = spec.loader.exec_module

            def run_inside(module):
                with self.context():
                    run_body(module)

            spec.loader.exec_module = run_inside
        return spec


def _around_import(name, context, repair=None):
    repair = repair or context
    known = any(isinstance(finder, _AroundImport) and finder.repair is repair for finder in sys.meta_path)
    if name not in sys.modules and not known:
        sys.meta_path.insert(0, _AroundImport(name, context, repair))


def _after_import(name, mend):
    """Calls ``mend`` when a module has been imported, now if it is already."""

    @contextlib.contextmanager
    def mended_after():
        yield
        mend()

    if name in sys.modules:
        mend()
    else:
        _around_import(name, mended_after, mend)


def _folder_of(package: str) -> str:
    """Folder of an importable package, by its module name or by the name of its distribution."""
    from mmengine.config.utils import MODULE2PACKAGE

    modules = {distribution: module for module, distribution in MODULE2PACKAGE.items()}
    spec = importlib.util.find_spec(modules.get(package, package))
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(f'{package} is not installed, but a config names it: pip install {package}')
    return osp.dirname(spec.origin)


def resolve_config_packages():
    """Lets ``mmsampriors::`` bases resolve, and any ``package::`` base without ``pkg_resources``.

    mmengine 0.10.7 knows only its own list of packages, looks for an editable (PEP 660) install in site-packages, and
    needs ``pkg_resources``, which setuptools 82 dropped and a Python 3.12 environment lacks. Can go when mmengine
    resolves packages through importlib.
    """
    import mmengine.utils
    from mmengine.config.utils import MODULE2PACKAGE

    config_module, package_utils = sys.modules[CONFIG_MODULE], sys.modules['mmengine.utils.package_utils']
    MODULE2PACKAGE[OWN_NAME] = OWN_NAME
    if getattr(config_module.get_installed_path, 'mended', False):
        return
    without_pkg_resources = importlib.util.find_spec('pkg_resources') is None
    upstream_path, upstream_check = package_utils.get_installed_path, package_utils.is_installed

    def get_installed_path(package):
        if package == OWN_NAME:
            return OWN_FOLDER
        return _folder_of(package) if without_pkg_resources else upstream_path(package)

    def is_installed(package):
        if package == OWN_NAME:
            return True
        if not without_pkg_resources:
            return upstream_check(package)
        try:
            return bool(_folder_of(package))
        except ModuleNotFoundError:
            return False

    get_installed_path.mended = True
    for module in (config_module, mmengine.utils, package_utils):
        module.get_installed_path, module.is_installed = get_installed_path, is_installed


def _replace_other_types(ours: dict, theirs: dict):
    """Marks the dicts that are about to be merged over a dict of another ``type``, or over no dict: they replace it."""
    for key, value in ours.items():
        if not isinstance(value, dict) or key not in theirs:
            continue
        other = theirs[key]
        if not isinstance(other, dict) or 'type' in value and value['type'] != other.get('type', value['type']):
            value['_delete_'] = True
        else:
            _replace_other_types(value, other)


def replace_parts_of_another_type():
    """mmengine 0.10.7 merges a dict into the one that it overrides, whatever the ``type`` of the two [ours].

    A part of ``model.spd`` that is replaced by one of another type would inherit arguments that it does not take. In
    ``spd`` and ``model.spd`` it replaces the whole dict, in config files and on the command line. Every other key is
    merged as always. Can go when mmengine does so.
    """
    Config = sys.modules[CONFIG_MODULE].Config
    upstream_merge = Config._merge_a_into_b
    if getattr(upstream_merge, 'mended', False):
        return

    def _merge_a_into_b(a, b, allow_list_keys=False):
        if isinstance(a.get('spd'), dict) and isinstance(b, dict) and isinstance(b.get('spd'), dict):
            _replace_other_types(a['spd'], b['spd'])
        return upstream_merge(a, b, allow_list_keys)

    _merge_a_into_b.mended = True
    Config._merge_a_into_b = staticmethod(_merge_a_into_b)


def _mend_configs():
    resolve_config_packages()
    replace_parts_of_another_type()


@_up_to('mmagic', '1.2.0')
def alias_numpy_bool8():
    """mmagic 1.2.0 uses ``np.bool8`` when it is imported; numpy 2.0 removed it. Can go with the next mmagic."""
    if int(np.__version__.split('.')[0]) >= 2 and not hasattr(np, 'bool8'):
        np.bool8 = np.bool_


@contextlib.contextmanager
def _mmcv_as_accepted():
    import mmcv

    version = mmcv.__version__
    if version.startswith('2.2.'):
        mmcv.__version__ = '2.1.0'
    try:
        yield
    finally:
        mmcv.__version__ = version


@_up_to('mmagic', '1.2.0')
def accept_mmcv_2_2():
    """mmagic 1.2.0 refuses mmcv 2.2 by an assertion in its ``__init__``, which is all that reads the version there.

    Can go when mmagic raises its bound.
    """
    _around_import('mmagic', _mmcv_as_accepted)


class _NoCompiledOps(types.ModuleType):
    def __getattr__(self, name):
        if name.startswith('__'):
            raise AttributeError(name)

        def compiled_op(*args, **kwargs):
            raise RuntimeError(
                f'{name} is a compiled op of mmcv, and this mmcv has none (mmcv-lite). Networks that '
                'use it need mmcv built with ops; no restoration network of mmagic does.'
            )

        return compiled_op


@contextlib.contextmanager
def _ops_without_extension():
    sys.modules['mmcv._ext'] = _NoCompiledOps('mmcv._ext')
    try:
        yield
    finally:
        # Left in place it would make mmengine take mmcv-lite for mmcv with ops.
        del sys.modules['mmcv._ext']


@_up_to('mmagic', '1.2.0')
def stand_in_for_mmcv_ops():
    """``import mmagic.models`` of mmagic 1.2.0 imports ``mmcv.ops``, which needs the compiled ``mmcv._ext``.

    mmcv-lite has none, and mmcv with ops does not build against today's torch. A stand-in serves while ``mmcv.ops`` is
    imported; its functions raise. Does nothing where the extension exists. Can go when mmagic imports its compiled ops
    on use.
    """
    spec = importlib.util.find_spec('mmcv')
    if spec is None:
        raise ModuleNotFoundError(
            'mmsampriors needs mmcv (2.0 to 2.2) and found none. Install mmcv-lite, which needs '
            'no compiler: pip install "mmcv-lite>=2.0,<2.3"'
        )
    # Looked for by file: asking importlib for 'mmcv._ext' would import mmcv, and torch with it.
    if not any(name.startswith('_ext.') for name in os.listdir(osp.dirname(spec.origin))):
        _around_import('mmcv.ops', _ops_without_extension)


@contextlib.contextmanager
def _without_mediapipe():
    import mediapipe

    if hasattr(mediapipe, 'solutions'):
        yield
        return
    sys.modules['mediapipe'] = None
    try:
        yield
    finally:
        sys.modules['mediapipe'] = mediapipe


@_up_to('mmagic', '1.2.0')
def import_inferencers_without_mediapipe_solutions():
    """``mmagic.apis`` of mmagic 1.2.0 imports controlnet_aux, which uses ``mediapipe.solutions`` when it is imported.

    MediaPipe dropped that. controlnet_aux 0.0.10 gets on without MediaPipe (but for its face detector), so it is told
    that there is none. Can go when controlnet_aux follows MediaPipe.
    """
    _around_import('controlnet_aux.mediapipe_face.mediapipe_face_common', _without_mediapipe)


def _read_jpeg_color_type():
    kind = sys.modules[JPEG_MODULE].RandomJPEGCompression
    upstream_init = kind.__init__
    if getattr(upstream_init, 'mended', False):
        return

    def __init__(self, params, keys, color_type=None, bgr2rgb=False):
        upstream_init(self, params, keys, color_type or params.get('color_type', 'color'), bgr2rgb)

    __init__.mended = True
    kind.__init__ = __init__


@_up_to('mmagic', '1.2.0')
def read_color_type_of_jpeg_compression():
    """``RandomJPEGCompression`` of mmagic 1.2.0 ignores ``params.color_type``, where its configs write ``'grayscale'``.

    A gray image comes back with three channels, and SwinIR's gray configs for JPEG artifacts cannot be trained. Can go
    when mmagic's class or configs change.
    """
    _after_import(JPEG_MODULE, _read_jpeg_color_type)


def _know_y_channel():
    kind = sys.modules[PREPROCESSOR_MODULE].DataPreprocessor
    upstream_parse = kind._parse_channel_order
    if getattr(upstream_parse, 'mended', False):
        return

    def _parse_channel_order(self, key, inputs, data_sample=None):
        image = inputs['fake_img'] if isinstance(inputs, dict) else inputs
        one = image.shape[self._parse_channel_index(inputs)] == 1
        return 'single' if one else upstream_parse(self, key, inputs, data_sample)

    _parse_channel_order.mended = True
    kind._parse_channel_order = _parse_channel_order


@_up_to('mmagic', '1.2.0')
def take_y_channel_for_one_channel():
    """``DataPreprocessor`` of mmagic 1.2.0 takes a Y channel (``to_y_channel``) for the colour image in the file.

    Turning its order of channels fails, and with it every test of mmagic's gray Restormer configs. Can go when mmagic
    looks at the image.
    """
    _after_import(PREPROCESSOR_MODULE, _know_y_channel)


def _name_val_loop():
    from mmagic.registry import LOOPS

    LOOPS.register_module(name='ValLoop', force=True, module=sys.modules[LOOPS_MODULE].MultiValLoop)


@_up_to('mmagic', '1.2.0')
def validate_in_mmagics_loop():
    """mmagic 1.2.0's metrics, timer and log serve its own MultiValLoop only, and its SwinIR configs say ``ValLoop``.

    mmengine's ValLoop fails at the end of the first validation, or at its 100th image. In mmagic's scope the name now
    means mmagic's loop. Can go when mmagic's configs change.
    """
    _after_import(LOOPS_MODULE, _name_val_loop)


def _find_best_by_suffix():
    kind = sys.modules[CHECKPOINT_MODULE].CheckpointHook
    upstream_save = kind._save_best_checkpoint
    if getattr(upstream_save, 'mended', False):
        return

    def _save_best_checkpoint(self, runner, metrics):
        for key in set(getattr(self, 'key_indicators', None) or ()) - set(metrics):
            found = [value for name, value in metrics.items() if name.endswith(f'/{key}')]
            metrics = {**metrics, key: found[0]} if found else metrics
        return upstream_save(self, runner, metrics)

    _save_best_checkpoint.mended = True
    kind._save_best_checkpoint = _save_best_checkpoint


@_up_to('mmagic', '1.2.0')
def find_best_metric_with_prefix():
    """``save_best='PSNR'`` of mmagic 1.2.0's default runtime meets ``McMaster/PSNR`` in its SwinIR configs: a KeyError.

    The first metric of that name counts then. Can go when mmagic's configs agree.
    """
    _after_import(CHECKPOINT_MODULE, _find_best_by_suffix)


def _name_safe_globals():
    import torch
    from mmengine.logging import HistoryBuffer

    from .plain_pickle import statistic_of_history

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
        from . import plain_pickle

        return self._torch.load(*args, **{'pickle_module': plain_pickle, 'weights_only': False, **kwargs})


def _load_plain_data():
    import torch

    _name_safe_globals()
    module = sys.modules[CHECKPOINTS_MODULE]
    if Version(torch.__version__) < Version('2.6') and module.torch is torch:
        module.torch = _TorchForCheckpoints(torch)


@_up_to('mmengine', '0.10.7')
def load_plain_checkpoints():
    """mmengine 0.10.7 stores ``HistoryBuffer`` objects, which torch 2.6 and later refuse to load (``--resume`` fails).

    Names them as safe instead of switching ``weights_only`` off, once torch is imported for loading checkpoints anyway.
    Older torch runs whatever code a checkpoint names, unless it is told not to, and mmengine does not tell it: here it
    reads plain data only (``load_from``, ``--resume`` and our tools). Can go when mmengine stores plain lists and says
    ``weights_only=True``.
    """
    _after_import(CHECKPOINTS_MODULE, _load_plain_data)


def _check_local_checkpoints():
    from .checkpoints import read_checkpoint

    loader = sys.modules[CHECKPOINTS_MODULE].CheckpointLoader
    loader.register_scheme('', lambda filename, map_location: read_checkpoint(filename, map_location), True)


@_up_to('mmengine', '0.10.7')
def check_checkpoints_when_they_are_read():
    """mmengine 0.10.7 loads a local checkpoint in which bits have flipped, and says nothing.

    Of one that is cut off, empty or refused it shows torch's error, without the file. Can go when mmengine compares
    checksums and names the file.
    """
    _after_import(CHECKPOINTS_MODULE, _check_local_checkpoints)


@contextlib.contextmanager
def _open_whole(path, mode):
    with written_whole(path) as part, open(part, mode) as file:
        yield file


def _note_last_checkpoint_whole():
    sys.modules[CHECKPOINT_MODULE].open = _open_whole


def _write_files_whole():
    LocalBackend = sys.modules[BACKEND_MODULE].LocalBackend
    if getattr(LocalBackend.put, 'mended', False):
        return
    upstream_put = LocalBackend.put

    def put(self, obj, filepath):
        with written_whole(filepath) as part:
            upstream_put(self, obj, str(part))

    put.mended = True
    LocalBackend.put = put


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


@_up_to('mmengine', '0.10.7')
def name_files_that_cannot_be_loaded():
    """mmengine 0.10.7 does not say of which sample a pipeline failed, and OpenCV not of which file.

    Can go when mmengine does.
    """
    _after_import(DATASET_MODULE, _name_files)


@_up_to('mmengine', '0.10.7')
def write_files_whole():
    """mmengine 0.10.7 writes checkpoints in place: a run killed meanwhile leaves a file that is cut off.

    The mended backend writes beside the target and renames. The note of the last checkpoint, the only file that the
    hook of checkpoints opens, is written so too. Can go when mmengine does so.
    """
    _after_import(BACKEND_MODULE, _write_files_whole)
    _after_import(CHECKPOINT_MODULE, _note_last_checkpoint_whole)


def apply():
    """Applies every repair that this environment needs; a second call changes nothing."""
    _after_import(CONFIG_MODULE, _mend_configs)
    alias_numpy_bool8()
    accept_mmcv_2_2()
    stand_in_for_mmcv_ops()
    import_inferencers_without_mediapipe_solutions()
    read_color_type_of_jpeg_compression()
    take_y_channel_for_one_channel()
    validate_in_mmagics_loop()
    find_best_metric_with_prefix()
    load_plain_checkpoints()
    check_checkpoints_when_they_are_read()
    write_files_whole()
    name_files_that_cannot_be_loaded()


apply()

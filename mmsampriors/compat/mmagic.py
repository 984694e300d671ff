"""Repairs to mmagic and to what its import needs."""

import contextlib
import functools
import importlib.util
import os
import os.path as osp
import sys
import types

import numpy as np

from .patching import around_import, in_place_of, up_to


@up_to('mmagic', '1.2.0')
def alias_numpy_bool8():
    """mmagic 1.2.0 uses ``np.bool8`` when it is imported; numpy 2.0 removed it. Can go with the next mmagic."""
    if int(np.__version__.split('.')[0]) >= 2 and not hasattr(np, 'bool8'):
        np.bool8 = np.bool_


@contextlib.contextmanager
def _mmcv_as_accepted():
    try:
        import mmcv
    except ModuleNotFoundError:
        raise ModuleNotFoundError(
            'mmsampriors needs mmcv (2.0 to 2.2) and found none. Install mmcv-lite, which needs '
            'no compiler: pip install "mmcv-lite>=2.0,<2.3"'
        ) from None
    version = mmcv.__version__
    if version.startswith('2.2.'):
        mmcv.__version__ = '2.1.0'
    try:
        yield
    finally:
        mmcv.__version__ = version


@up_to('mmagic', '1.2.0')
def accept_mmcv_2_2():
    """mmagic 1.2.0 refuses mmcv 2.2 by an assertion in its ``__init__``, which is all that reads the version there.

    Can go when mmagic raises its bound.
    """
    around_import('mmagic', _mmcv_as_accepted)


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


@up_to('mmagic', '1.2.0')
def stand_in_for_mmcv_ops():
    """``import mmagic.models`` of mmagic 1.2.0 imports ``mmcv.ops``, which needs the compiled ``mmcv._ext``.

    mmcv-lite has none, and mmcv with ops does not build against today's torch. A stand-in serves while ``mmcv.ops`` is
    imported; its functions raise. Does nothing where the extension exists. Can go when mmagic imports its compiled ops
    on use.
    """
    spec = importlib.util.find_spec('mmcv')
    # Looked for by file: asking importlib for 'mmcv._ext' would import mmcv, and torch with it.
    if spec is not None and not any(name.startswith('_ext.') for name in os.listdir(osp.dirname(spec.origin))):
        around_import('mmcv.ops', _ops_without_extension)


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


@up_to('mmagic', '1.2.0')
def import_inferencers_without_mediapipe_solutions():
    """``mmagic.apis`` of mmagic 1.2.0 imports controlnet_aux, which uses ``mediapipe.solutions`` when it is imported.

    MediaPipe dropped that. controlnet_aux 0.0.10 gets on without MediaPipe (but for its face detector), so it is made
    to find none. Can go when controlnet_aux follows MediaPipe.
    """
    around_import('controlnet_aux.mediapipe_face.mediapipe_face_common', _without_mediapipe)


def _cached_download(*args, **kwargs):
    raise RuntimeError(
        'huggingface_hub 0.26 dropped cached_download, which diffusers 0.24 calls for community pipelines: to use one, '
        'install huggingface_hub 0.25'
    )


@up_to('diffusers', '0.24.0', after='huggingface_hub')
def import_diffusers_without_cached_download():
    """diffusers 0.24.0, which mmagic imports, imports a function that huggingface_hub 0.26 removed.

    It gets one that raises: community pipelines alone call it. gradio needs huggingface_hub 0.33 or later. Can go when
    mmagic takes a later diffusers.
    """
    hub = sys.modules['huggingface_hub']
    if not hasattr(hub, 'cached_download'):
        hub.cached_download = _cached_download


JPEG_MODULE = 'mmagic.datasets.transforms.random_degradations'
LOOPS_MODULE = 'mmagic.engine.runner.multi_loops'
CHECKPOINT_MODULE = 'mmengine.hooks.checkpoint_hook'
PREPROCESSOR_MODULE = 'mmagic.models.data_preprocessors.data_preprocessor'


@up_to('mmagic', '1.2.0', after=JPEG_MODULE)
def read_color_type_of_jpeg_compression():
    """``RandomJPEGCompression`` of mmagic 1.2.0 ignores ``params.color_type``, where its configs write ``'grayscale'``.

    A gray image comes back with three channels, and SwinIR's gray configs for JPEG artifacts cannot be trained. Can go
    when mmagic's class or configs change.
    """

    @in_place_of(sys.modules[JPEG_MODULE].RandomJPEGCompression, '__init__')
    def read_color_type(upstream, self, params, keys, color_type=None, bgr2rgb=False):
        upstream(self, params, keys, color_type or params.get('color_type', 'color'), bgr2rgb)


@up_to('mmagic', '1.2.0', after=PREPROCESSOR_MODULE)
def take_y_channel_for_one_channel():
    """``DataPreprocessor`` of mmagic 1.2.0 takes a Y channel (``to_y_channel``) for the colour image in the file.

    Turning its order of channels fails, and with it every test of mmagic's gray Restormer configs. Can go when mmagic
    looks at the image.
    """

    @in_place_of(sys.modules[PREPROCESSOR_MODULE].DataPreprocessor, '_parse_channel_order')
    def look_at_image(upstream, self, key, inputs, data_sample=None):
        image = inputs['fake_img'] if isinstance(inputs, dict) else inputs
        one = image.shape[self._parse_channel_index(inputs)] == 1
        return 'single' if one else upstream(self, key, inputs, data_sample)


@up_to('mmagic', '1.2.0', after=LOOPS_MODULE)
def validate_in_mmagics_loop():
    """mmagic 1.2.0's metrics, timer and log serve its own MultiValLoop only, and its SwinIR configs say ``ValLoop``.

    mmengine's ValLoop fails at the end of the first validation, or at its 100th image. In mmagic's scope the name now
    means mmagic's loop. Can go when mmagic's configs change.
    """
    from mmagic.registry import LOOPS

    LOOPS.register_module(name='ValLoop', force=True, module=sys.modules[LOOPS_MODULE].MultiValLoop)


@up_to('mmagic', '1.2.0', after=CHECKPOINT_MODULE)
def find_best_metric_with_prefix():
    """``save_best='PSNR'`` of mmagic 1.2.0's default runtime meets ``McMaster/PSNR`` in its SwinIR configs: a KeyError.

    The first metric of that name counts then. Can go when mmagic's configs agree.
    """

    @in_place_of(sys.modules[CHECKPOINT_MODULE].CheckpointHook, '_save_best_checkpoint')
    def with_prefix(upstream, self, runner, metrics):
        for key in set(getattr(self, 'key_indicators', None) or ()) - set(metrics):
            found = [value for name, value in metrics.items() if name.endswith(f'/{key}')]
            metrics = {**metrics, key: found[0]} if found else metrics
        return upstream(self, runner, metrics)


VIS_BACKEND_MODULE = 'mmengine.visualization.vis_backend'


@up_to('mmengine', '0.10.7', after=VIS_BACKEND_MODULE)
def follow_mlflow():
    """mmengine 0.10.7 gives MLflow images whose names have no suffix, and MLflow fails at them.

    Here they are named as on disk, with the step. And mmengine keeps MLflow's files in the work folder, which MLflow
    3.13 and later refuse unless a variable allows it: it is set where no server is named. Can go when mmengine follows
    (its issues 1681 and 1687).
    """
    MLflow = sys.modules[VIS_BACKEND_MODULE].MLflowVisBackend

    @in_place_of(MLflow, '_init_env')
    def allow_files(upstream, self):
        if self._tracking_uri is None:  # files in the work folder
            os.environ.setdefault('MLFLOW_ALLOW_FILE_STORE', 'true')
        upstream(self)

    @in_place_of(MLflow, 'add_image')
    def with_suffix(upstream, self, name, image, step=0, **kwargs):
        upstream(self, f'{name}_{step}.png', image, step, **kwargs)


def _with_name_in_utf8(upstream_add):
    @functools.wraps(upstream_add)
    def add_image(self, name, *args, **kwargs):
        return upstream_add(self, name.encode('utf-8', 'backslashreplace').decode(), *args, **kwargs)

    add_image.names_utf8 = True
    return add_image


@up_to('mmengine', '0.10.7', after=VIS_BACKEND_MODULE)
def name_pictures_in_utf8():
    """mmengine 0.10.7 names a picture like its file, and OpenCV crashes (a segmentation fault) where that is no UTF-8.

    Other trackers refuse such names. Bytes that are no UTF-8 are written as ``\\udce9``. Can go when mmengine does so.
    """
    for kind in vars(sys.modules[VIS_BACKEND_MODULE]).values():
        upstream_add = vars(kind).get('add_image') if isinstance(kind, type) else None
        if upstream_add and not hasattr(upstream_add, 'names_utf8'):
            kind.add_image = _with_name_in_utf8(upstream_add)


def keep_onnxruntime_silent():
    """onnxruntime 1.32 for Linux looks for Microsoft's server of usage data, and leaves a file in the temporary folder.

    mmagic's imports import it where it is installed. Its own ``disable_telemetry_events`` stops neither; this variable
    does, if it is set before the import. A value that is there stays. Can go when the wheels no longer do so.
    """
    os.environ.setdefault('ORT_DISABLE_TELEMETRY', '1')

"""Repairs without which mmagic cannot be imported today."""

import contextlib
import importlib.util
import os
import os.path as osp
import sys
import types

import numpy as np

from .applying import after_import, around_import, up_to


@up_to('mmagic', '1.2.0')
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
    if spec is None:
        raise ModuleNotFoundError(
            'mmsampriors needs mmcv (2.0 to 2.2) and found none. Install mmcv-lite, which needs '
            'no compiler: pip install "mmcv-lite>=2.0,<2.3"'
        )
    # Looked for by file: asking importlib for 'mmcv._ext' would import mmcv, and torch with it.
    if not any(name.startswith('_ext.') for name in os.listdir(osp.dirname(spec.origin))):
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

    MediaPipe dropped that. controlnet_aux 0.0.10 gets on without MediaPipe (but for its face detector), so it is told
    that there is none. Can go when controlnet_aux follows MediaPipe.
    """
    around_import('controlnet_aux.mediapipe_face.mediapipe_face_common', _without_mediapipe)


def _cached_download(*args, **kwargs):
    raise RuntimeError(
        'huggingface_hub 0.26 dropped cached_download, which diffusers 0.24 calls for community pipelines: to use one, '
        'install huggingface_hub 0.25'
    )


def _name_cached_download():
    hub = sys.modules['huggingface_hub']
    if not hasattr(hub, 'cached_download'):
        hub.cached_download = _cached_download


@up_to('diffusers', '0.24.0')
def import_diffusers_without_cached_download():
    """diffusers 0.24.0, which mmagic imports, imports a function that huggingface_hub 0.26 removed.

    It gets one that raises: community pipelines alone call it. gradio needs huggingface_hub 0.33 or later. Can go when
    mmagic takes a later diffusers.
    """
    after_import('huggingface_hub', _name_cached_download)

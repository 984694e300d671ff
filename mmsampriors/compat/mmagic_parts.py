"""Repairs to transforms, preprocessor, validation and metrics of mmagic."""

import sys

from .applying import after_import, up_to

JPEG_MODULE = 'mmagic.datasets.transforms.random_degradations'
LOOPS_MODULE = 'mmagic.engine.runner.multi_loops'
CHECKPOINT_MODULE = 'mmengine.hooks.checkpoint_hook'
PREPROCESSOR_MODULE = 'mmagic.models.data_preprocessors.data_preprocessor'


def _read_jpeg_color_type():
    kind = sys.modules[JPEG_MODULE].RandomJPEGCompression
    upstream_init = kind.__init__
    if getattr(upstream_init, 'mended', False):
        return

    def __init__(self, params, keys, color_type=None, bgr2rgb=False):
        upstream_init(self, params, keys, color_type or params.get('color_type', 'color'), bgr2rgb)

    __init__.mended = True
    kind.__init__ = __init__


@up_to('mmagic', '1.2.0')
def read_color_type_of_jpeg_compression():
    """``RandomJPEGCompression`` of mmagic 1.2.0 ignores ``params.color_type``, where its configs write ``'grayscale'``.

    A gray image comes back with three channels, and SwinIR's gray configs for JPEG artifacts cannot be trained. Can go
    when mmagic's class or configs change.
    """
    after_import(JPEG_MODULE, _read_jpeg_color_type)


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


@up_to('mmagic', '1.2.0')
def take_y_channel_for_one_channel():
    """``DataPreprocessor`` of mmagic 1.2.0 takes a Y channel (``to_y_channel``) for the colour image in the file.

    Turning its order of channels fails, and with it every test of mmagic's gray Restormer configs. Can go when mmagic
    looks at the image.
    """
    after_import(PREPROCESSOR_MODULE, _know_y_channel)


def _name_val_loop():
    from mmagic.registry import LOOPS

    LOOPS.register_module(name='ValLoop', force=True, module=sys.modules[LOOPS_MODULE].MultiValLoop)


@up_to('mmagic', '1.2.0')
def validate_in_mmagics_loop():
    """mmagic 1.2.0's metrics, timer and log serve its own MultiValLoop only, and its SwinIR configs say ``ValLoop``.

    mmengine's ValLoop fails at the end of the first validation, or at its 100th image. In mmagic's scope the name now
    means mmagic's loop. Can go when mmagic's configs change.
    """
    after_import(LOOPS_MODULE, _name_val_loop)


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


@up_to('mmagic', '1.2.0')
def find_best_metric_with_prefix():
    """``save_best='PSNR'`` of mmagic 1.2.0's default runtime meets ``McMaster/PSNR`` in its SwinIR configs: a KeyError.

    The first metric of that name counts then. Can go when mmagic's configs agree.
    """
    after_import(CHECKPOINT_MODULE, _find_best_by_suffix)

"""Repairs to upstream, applied when this package is imported and only where they are needed.

Each function names what it mends, in which version, and when it can go. It does nothing on a later version of the
package that it mends. All of them are idempotent. They must be in place before mmagic is imported: importing any
module of mmsampriors imports this one first.

Importing it imports nothing of OpenMMLab: each repair waits for the module that it mends. So ``import mmsampriors``
stays light for those who only restore photographs.
"""

from .config_files import mend_configs
from .file_reading import (
    check_checkpoints_when_they_are_read,
    list_files_in_the_order_of_their_names,
    load_plain_checkpoints,
    name_files_that_cannot_be_loaded,
)
from .file_writing import write_files_whole
from .mmagic_imports import (
    accept_mmcv_2_2,
    alias_numpy_bool8,
    import_diffusers_without_cached_download,
    import_inferencers_without_mediapipe_solutions,
    stand_in_for_mmcv_ops,
)
from .mmagic_parts import (
    find_best_metric_with_prefix,
    read_color_type_of_jpeg_compression,
    take_y_channel_for_one_channel,
    validate_in_mmagics_loop,
)
from .silence import keep_onnxruntime_silent
from .trackers import follow_mlflow


def apply():
    """Applies every repair that this environment needs; a second call changes nothing."""
    mend_configs()
    keep_onnxruntime_silent()
    alias_numpy_bool8()
    accept_mmcv_2_2()
    stand_in_for_mmcv_ops()
    import_inferencers_without_mediapipe_solutions()
    import_diffusers_without_cached_download()
    read_color_type_of_jpeg_compression()
    take_y_channel_for_one_channel()
    validate_in_mmagics_loop()
    find_best_metric_with_prefix()
    load_plain_checkpoints()
    check_checkpoints_when_they_are_read()
    write_files_whole()
    name_files_that_cannot_be_loaded()
    list_files_in_the_order_of_their_names()
    follow_mlflow()


apply()

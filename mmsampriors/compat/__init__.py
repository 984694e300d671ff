"""Repairs to upstream, each only where it is needed.

Importing this package adds what is missing, so that mmagic can be imported and our configs and checkpoints can be read.
Nothing that works changes for others: what changes how mmengine and mmagic behave is switched on by our tools
(:func:`apply_to_tools`).

Each function names what it mends, in which version, and when it can go. It does nothing on a later version of the
package that it mends, or without it. All of them are idempotent. They must be in place before mmagic is imported:
importing any module of mmsampriors imports this one first.

Importing it imports nothing of OpenMMLab: each repair waits for the module that it mends. So ``import mmsampriors``
stays light for those who only restore photographs.
"""

from .config_files import mend_configs
from .files import (
    list_files_in_the_order_of_their_names,
    name_files_that_cannot_be_loaded,
    name_safe_globals,
    read_checkpoints_as_plain_data,
    read_lists_without_byte_order_mark,
    read_yaml_as_plain_data,
    take_no_folder_for_meta_information,
    write_files_whole,
)
from .mmagic import (
    accept_mmcv_2_2,
    alias_numpy_bool8,
    find_best_metric_with_prefix,
    follow_mlflow,
    import_diffusers_without_cached_download,
    import_inferencers_without_mediapipe_solutions,
    keep_onnxruntime_silent,
    name_pictures_in_utf8,
    read_color_type_of_jpeg_compression,
    stand_in_for_mmcv_ops,
    take_y_channel_for_one_channel,
    validate_in_mmagics_loop,
)


def apply():
    """Applies what only adds; a second call changes nothing. Importing this package calls it."""
    mend_configs()
    keep_onnxruntime_silent()
    alias_numpy_bool8()
    accept_mmcv_2_2()
    stand_in_for_mmcv_ops()
    import_inferencers_without_mediapipe_solutions()
    import_diffusers_without_cached_download()
    name_safe_globals()


def apply_to_tools():
    """Applies what changes how mmengine and mmagic behave in this process; a second call changes nothing.

    Our tools call it (:func:`mmsampriors.command_line.run_tool`). A script of one's own may, before it builds a Runner.
    """
    read_color_type_of_jpeg_compression()
    take_y_channel_for_one_channel()
    validate_in_mmagics_loop()
    find_best_metric_with_prefix()
    read_checkpoints_as_plain_data()
    write_files_whole()
    name_files_that_cannot_be_loaded()
    list_files_in_the_order_of_their_names()
    read_lists_without_byte_order_mark()
    read_yaml_as_plain_data()
    take_no_folder_for_meta_information()
    follow_mlflow()
    name_pictures_in_utf8()


apply()

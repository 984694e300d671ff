"""Batches that travel to a GPU while the host goes on."""

from typing import Any

from mmengine.model import BaseDataPreprocessor
from mmengine.structures import BaseDataElement
from torch import Tensor

from mmsampriors.upstream_internals import let_transfers_run


def send_without_waiting(preprocessor: BaseDataPreprocessor):
    """Makes a data preprocessor send batches from pinned memory, behind the work that the device has queued.

    mmengine copies each image and each ground truth from ordinary memory, and waits each time until all that is queued
    is done. A loader's ``pin_memory`` pins the images only: it does not look into data samples.

    Args:
        preprocessor (BaseDataPreprocessor): Where its device is no GPU, it works as before.
    """
    let_transfers_run(preprocessor)
    preprocessor.register_forward_pre_hook(_pin_batch)


def _pin_batch(preprocessor, args):
    return (pinned(args[0]), *args[1:]) if preprocessor.device.type == 'cuda' else None


def pinned(data: Any) -> Any:
    """The same batch with every tensor of the host in pinned memory, also those inside data samples."""
    if isinstance(data, Tensor):
        return data.pin_memory() if data.device.type == 'cpu' else data
    if isinstance(data, BaseDataElement):
        copy = data.new()
        for key, value in data.items():
            if isinstance(value, Tensor):
                copy.set_data({key: pinned(value)})
        return copy
    if isinstance(data, dict):
        return {key: pinned(value) for key, value in data.items()}
    return [pinned(value) for value in data] if isinstance(data, list) else data

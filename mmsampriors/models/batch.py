"""What a step needs of its batch: RGB images, the order of channels, which images have ground truth, PSNR gain."""

from typing import Any

from mmengine.model import BaseDataPreprocessor
from mmengine.structures import BaseDataElement
from torch import Tensor

from mmsampriors.compat.upstream import let_transfers_run, normalization_of
from mmsampriors.images import LUMA


def to_rgb(images: Tensor, preprocessor, order: str) -> Tensor:
    """What SAM and the feature extractors expect of the images that a network sees.

    Args:
        images (Tensor): (N, C, H, W), C of 3 or 1, as ``preprocessor`` makes them.
        preprocessor (DataPreprocessor): Of the model.
        order (str): Of the channels, 'rgb' or 'bgr'; a gray image has none.

    Returns:
        Tensor: (N, 3, H, W), RGB in [0, 1] where the network keeps to the range of images.
    """
    normalization = normalization_of(preprocessor)
    if normalization:
        mean, std = normalization
        images = images * std + mean
    images = images / 255
    if images.shape[1] == 1:
        return images.expand(-1, 3, -1, -1)
    return images if order.lower() == 'rgb' else images.flip(1)


def from_rgb(images: Tensor, preprocessor, order: str, channels: int) -> Tensor:
    """What a network sees of RGB images: the way back of :func:`to_rgb`.

    Args:
        images (Tensor): (N, 3, H, W), RGB in [0, 1]; for a network that takes one channel also (N, 1, H, W).
        preprocessor (DataPreprocessor): Of the model.
        order (str): Of the channels that the network takes, 'rgb' or 'bgr'.
        channels (int): That the network takes, 3 or 1. For 1, colours become gray as OpenCV does it.

    Returns:
        Tensor: (N, channels, H, W).
    """
    images = images * 255
    if channels == 1 and images.shape[1] == 3:
        images = (images * images.new_tensor(LUMA).view(3, 1, 1)).sum(1, keepdim=True).round()
    elif channels == 3 and order.lower() != 'rgb':
        images = images.flip(1)
    normalization = normalization_of(preprocessor)
    if normalization:
        mean, std = normalization
        images = (images - mean) / std
    return images


def metric_image_to_rgb(image: Tensor) -> Tensor:
    """An image as mmagic's metrics get it, in RGB.

    Args:
        image (Tensor): (C, H, W), BGR or gray, in [0, 255].

    Returns:
        Tensor: (3, H, W), RGB in [0, 1].
    """
    image = image.float().clamp(0, 255) / 255
    return image.flip(0) if len(image) == 3 else image.expand(3, -1, -1)


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


def labelled_count(metainfo: dict, count: int) -> int:
    """How many of the samples of a batch have a ground truth; these come first.

    Args:
        metainfo (dict): Of the stacked data samples.
        count (int): Samples of the batch.

    Raises:
        ValueError: One without comes before one with, or none has one.
    """
    labelled = metainfo.get('labelled')
    if labelled is None:
        return count
    with_gt = sum(map(bool, labelled))
    if not with_gt or not all(labelled[:with_gt]):
        raise ValueError(
            f'samples with a ground truth must come first in a batch, and at least one; found labelled={labelled}'
        )
    return with_gt


def channel_order(metainfo: dict, channels: int) -> str:
    """The order of the channels that the networks see: 'rgb', 'bgr', or '' for gray images.

    Args:
        metainfo (dict): Of the stacked data samples.
        channels (int): Of the images.

    Raises:
        KeyError: Colour images do not say it.
    """
    orders = metainfo.get('img_output_channel_order') or metainfo.get('img_channel_order')
    if orders is None and channels == 3:
        raise KeyError(
            'the samples do not say the order of their channels (img_channel_order): load images with '
            'LoadImageFromFile, or set it in the pipeline'
        )
    return orders[0] if orders else ''


def psnr_gain(restored: Tensor, refined: Tensor, gt: Tensor) -> Tensor:
    """How much higher the PSNR of the refined images is, in dB: a scalar, the mean over the images.

    Args:
        restored (Tensor): (N, C, H, W).
        refined (Tensor): (N, C, H, W).
        gt (Tensor): (N, C, H, W).
    """
    errors = [(image - gt).square().mean((1, 2, 3)).clamp(min=1e-12) for image in (restored, refined)]
    return 10 * (errors[0] / errors[1]).log10().mean()

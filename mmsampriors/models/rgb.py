"""RGB in [0, 1], which SAM and the analyzers expect, and what restoration networks and metrics see instead."""

from torch import Tensor

from mmsampriors.upstream_internals import normalization_of

LUMA = (0.299, 0.587, 0.114)  # of R, G and B: how OpenCV loads a colour file as gray


def to_rgb(images: Tensor, preprocessor, order: str) -> Tensor:
    """What SAM and the analyzers expect of the images that a network sees.

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

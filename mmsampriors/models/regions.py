"""Masks as matrices: what SPF and SGR compute with them."""
from typing import List, Tuple

import torch
import torch.nn.functional as F
from torch import Tensor

from mmsampriors.masks import ImageMasks


def stack_masks(masks: List[ImageMasks], size: Tuple[int, int], device=None) -> Tensor:
    """Masks of a batch as one tensor.

    Args:
        masks (list[ImageMasks]): N of them, with K_i masks each on images of at most ``size`` pixels; the data
            preprocessor pads images at the bottom and the right, and padding belongs to no region.
        size (tuple[int, int]): H and W of the batch.

    Returns:
        Tensor: (N, K, H, W), float32 of 0 and 1, K the largest K_i and at least 1; rows that pad an image to K masks
            are zero.

    Raises:
        ValueError: An image has masks of a larger size than the batch.
    """
    height, width = size
    stacked = torch.zeros(len(masks), max(1, *map(len, masks)), height, width, device=device)
    for row, of_image in zip(stacked, masks):
        h, w = of_image.size
        if h > height or w > width:
            raise ValueError(f'masks of {h}x{w} pixels came with an image of {height}x{width}: they were made for '
                             'another size, or a transform of the pipeline moved the image and not its masks')
        row[:len(of_image), :h, :w] = of_image.masks.to(stacked.device)
    return stacked


def coverage(masks: List[ImageMasks]) -> Tensor:
    """Mean share of the pixels of each image that some mask covers, a scalar in [0, 1].

    Args:
        masks (list[ImageMasks]): Of at least one image.
    """
    return torch.stack([of_image.masks.any(0).float().mean() for of_image in masks]).mean()


def region_means(features: Tensor, regions: Tensor) -> Tensor:
    """Mean feature of each region; zero for an empty one.

    Args:
        features (Tensor): (N, C, H, W).
        regions (Tensor): (N, K, H, W), weights in [0, 1].

    Returns:
        Tensor: (N, K, C).
    """
    weights = regions.flatten(2)
    sums = weights @ features.flatten(2).transpose(1, 2)
    # An empty region has a sum of zero: any divisor will do.
    area = weights.sum(2, keepdim=True)
    return sums / area.masked_fill(area == 0, 1)


def paint(vectors: Tensor, regions: Tensor) -> Tensor:
    """Gives each pixel the mean vector of the regions that cover it; zero where none does.

    Args:
        vectors (Tensor): (N, K, C).
        regions (Tensor): (N, K, H, W), weights in [0, 1].

    Returns:
        Tensor: (N, C, H, W).
    """
    sums = vectors.transpose(1, 2) @ regions.flatten(2)
    covers = regions.sum(1, keepdim=True)
    return sums.unflatten(2, regions.shape[2:]) / covers.masked_fill(covers == 0, 1)


def boundaries(regions: Tensor) -> Tensor:
    """Pixels whose right or lower neighbour is in another set of regions.

    Args:
        regions (Tensor): (N, K, H, W), 0 or 1.

    Returns:
        Tensor: (N, 1, H, W), 0 or 1.
    """
    right = (regions[..., 1:] != regions[..., :-1]).any(1, keepdim=True)
    down = (regions[..., 1:, :] != regions[..., :-1, :]).any(1, keepdim=True)
    return (F.pad(right, (0, 1)) | F.pad(down, (0, 0, 0, 1))).to(regions.dtype)

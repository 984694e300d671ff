"""Masks as matrices: what SPF and SGR compute with them."""

from functools import cached_property
from typing import List, Tuple

import torch
import torch.nn.functional as F
from torch import Tensor

from mmsampriors.masks import ImageMasks, RunMasks, send_runs

EXACT_BITS = 24  # a sum of distinct powers of two below 2 ** 24 is exact in float32, in any order


class Regions:
    """The masks of a batch as matrices, each made when it is first asked for: SPF and SGR share them.

    Args:
        masks (list[ImageMasks]): N of them, with K_i masks each on images of at most H by W pixels; the data
            preprocessor pads images at the bottom and the right, and padding belongs to no region.
        images (Tensor): (N, C, H, W), what the masks belong to. Stored masks are on their way to its device at once.

    Raises:
        ValueError: An image has masks of a larger size than the batch.
    """

    def __init__(self, masks: List[ImageMasks], images: Tensor):
        self.image_masks, self.size, self.device = masks, images.shape[-2:], images.device
        for of_image in masks:
            (h, w), (height, width) = of_image.size, self.size
            if h > height or w > width:
                raise ValueError(
                    f'masks of {h}x{w} pixels came with an image of {height}x{width}: they were made for '
                    'another size, or a transform of the pipeline moved the image and not its masks'
                )
        stored = all(isinstance(of_image, RunMasks) for of_image in masks)
        self._draw = send_runs(masks, self.device) if stored else None

    @cached_property
    def stacked(self) -> Tensor:
        """(N, K, H, W), bool, K the largest K_i and at least 1; rows that pad an image to K masks are False."""
        if self._draw is not None:
            return self._draw(*self.size)
        shape = len(self.image_masks), max(1, *map(len, self.image_masks)), *self.size
        stacked = torch.zeros(shape, dtype=torch.bool, device=self.device)
        for row, of_image in zip(stacked, self.image_masks):
            h, w = of_image.size
            row[: len(of_image), :h, :w] = of_image.bitmaps.to(stacked.device)
        return stacked

    @cached_property
    def weights(self) -> Tensor:
        """:attr:`stacked` as float32 of 0 and 1, for matrix products."""
        return self.stacked.float()

    def coverage(self) -> Tensor:
        """Share of the pixels of the batch that some mask covers, a scalar in [0, 1]."""
        return self.stacked.any(1).float().mean()

    def on_grid(self, grid: Tuple[int, int]) -> Tensor:
        """The share of each cell's pixels that each mask covers.

        Args:
            grid (tuple[int, int]): Rows h and columns w of cells, as in ``adaptive_avg_pool2d``.

        Returns:
            Tensor: (N, K, h, w), float32 in [0, 1].
        """
        (height, width), (rows, columns) = self.size, grid
        if height % rows or width % columns or width % 8 or height // rows > 255:
            return F.adaptive_avg_pool2d(self.weights, grid)
        # Adds up the rows of a cell, eight pixels of a byte each at a time; no byte gets to 256 and carries over.
        sums = self.stacked.view(torch.int64).unflatten(2, (rows, -1)).sum(3).view(torch.uint8)
        sums = sums.float().unflatten(3, (columns, -1))
        # A product with ones is a sum over the columns, and faster.
        return sums @ sums.new_ones(sums.shape[-1]) / (height // rows * sums.shape[-1])


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
    sets = _numbers_of_sets(regions)
    right = (sets[..., 1:] != sets[..., :-1]).any(1, keepdim=True)
    down = (sets[..., 1:, :] != sets[..., :-1, :]).any(1, keepdim=True)
    return (F.pad(right, (0, 1)) | F.pad(down, (0, 0, 0, 1))).to(regions.dtype)


def _numbers_of_sets(regions: Tensor) -> Tensor:
    """The set of regions that each pixel is in, as the bits of whole numbers: (N, ceil(K / 24), H, W)."""
    index = torch.arange(regions.shape[1], device=regions.device)
    group = torch.arange(-(-len(index) // EXACT_BITS), device=regions.device)
    bits = 2 ** (index % EXACT_BITS) * (index // EXACT_BITS == group[:, None])
    return (bits.to(regions.dtype) @ regions.flatten(2)).unflatten(2, regions.shape[2:])

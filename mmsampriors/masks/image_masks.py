"""The masks of one image as tensors, their overlaps, and a picture of them."""

from dataclasses import dataclass, fields
from typing import Optional

import numpy as np
import torch
from torch import Tensor


@dataclass
class ImageMasks:
    """The masks of one image, largest area first.

    Masks are binary, may overlap, and may leave pixels uncovered [paper]. ``K`` varies from image to image and may
    be 0.

    Args:
        bitmaps (Tensor): (K, H, W), bool.
        scores (Tensor): (K,), float32, the segmenter's own estimate of each mask's IoU in [0, 1]; 1 where the
            segmenter gives none.
        stability (Tensor): (K,), float32, SAM's stability score in [0, 1]; 1 where the segmenter gives none.
        boxes (Tensor): (K, 4), float32, x0, y0, x1, y1 in pixels, the last row and column included, as in
            ``segment_anything.utils.amg.batched_mask_to_box``.
        areas (Tensor): (K,), int64, pixels.
    """

    bitmaps: Tensor
    scores: Tensor
    stability: Tensor
    boxes: Tensor
    areas: Tensor

    @classmethod
    def from_masks(cls, masks: Tensor, scores: Tensor = None, stability: Tensor = None) -> 'ImageMasks':
        """Measures, drops empty masks and sorts.

        Args:
            masks (Tensor): (K, H, W), bool.
            scores (Tensor, optional): (K,). Defaults to ones.
            stability (Tensor, optional): (K,). Defaults to ones.
        """
        if masks.ndim != 3 or masks.dtype != torch.bool:
            raise ValueError(f'masks must be bool of shape (K, H, W), found {masks.dtype} of {tuple(masks.shape)}')
        areas = masks.flatten(1).sum(1)
        ones = torch.ones(len(masks), device=masks.device)
        scores = ones if scores is None else scores.float()
        stability = ones if stability is None else stability.float()
        order = torch.argsort(areas, descending=True, stable=True)
        order = order[areas[order] > 0]
        masks = masks[order]
        return cls(masks, scores[order], stability[order], boxes_of(masks), areas[order])

    @classmethod
    def from_label_map(cls, labels: Tensor) -> 'ImageMasks':
        """One mask a label.

        Args:
            labels (Tensor): (H, W), integers; each distinct value is a region.
        """
        return cls.from_masks(labels[None] == torch.unique(labels)[:, None, None])

    @classmethod
    def empty(cls, height: int, width: int, device='cpu') -> 'ImageMasks':
        """No masks on an image of ``height`` by ``width`` pixels."""
        return cls.from_masks(torch.zeros(0, height, width, dtype=torch.bool, device=device))

    def __len__(self) -> int:
        return len(self.bitmaps)

    @property
    def size(self) -> tuple:
        """(H, W) of the image in pixels."""
        return tuple(self.bitmaps.shape[-2:])

    def to(self, *args, **kwargs) -> 'ImageMasks':
        """A copy on another device; the arguments are those of :meth:`torch.Tensor.to`."""
        return ImageMasks(*(getattr(self, f.name).to(*args, **kwargs) for f in fields(self)))


def boxes_of(masks: Tensor) -> Tensor:
    """Tight boxes of non-empty masks.

    Args:
        masks (Tensor): (K, H, W), bool, none of them empty.

    Returns:
        Tensor: (K, 4), float32, x0, y0, x1, y1 in pixels, the last row and column included.
    """
    rows, columns = masks.any(2).int(), masks.any(1).int()
    height, width = masks.shape[-2:]
    return torch.stack(
        [columns.argmax(1), rows.argmax(1), width - 1 - columns.flip(1).argmax(1), height - 1 - rows.flip(1).argmax(1)],
        1,
    ).float()


# Pixels multiplied at a time: sums of so many ones are exact in float32, and memory stays at a few MB a mask.
PIXELS = 2**18


def pairwise_iou(masks: Tensor, others: Tensor) -> Tensor:
    """IoU of every mask with every other, by products of matrices.

    Args:
        masks (Tensor): (K, H, W), bool, none of them empty.
        others (Tensor): (L, H, W), likewise, on the same device.

    Returns:
        Tensor: (K, L), float64, in [0, 1].
    """
    masks, others = masks.flatten(1), others.flatten(1)
    shared = torch.zeros(len(masks), len(others), dtype=torch.float64, device=masks.device)
    for start in range(0, masks.shape[1], PIXELS):
        pixels = slice(start, start + PIXELS)
        shared += masks[:, pixels].float() @ others[:, pixels].float().T
    return shared / (masks.sum(1)[:, None] + others.sum(1) - shared)


def draw_masks(image: np.ndarray, masks: ImageMasks, colours: Optional[np.ndarray] = None) -> np.ndarray:
    """Paints each mask in a colour of its own over the image, small masks over large ones, and outlines them.

    Args:
        image (np.ndarray): (H, W, 3), uint8, RGB.
        masks (ImageMasks): K masks on the same pixels.
        colours (np.ndarray, optional): (K, 3), RGB in [0, 255]. Drawn at random if left out, the same for each image.

    Returns:
        np.ndarray: (H, W, 3), uint8, RGB.
    """
    if colours is None:
        colours = np.random.default_rng(0).uniform(40, 255, (len(masks), 3))
    painted = image.copy()
    for mask, box, colour in zip(masks.bitmaps.cpu().numpy(), masks.boxes.int().tolist(), colours):
        window = np.s_[box[1] : box[3] + 1, box[0] : box[2] + 1]
        mask, part = mask[window], painted[window]
        part[mask] = (0.45 * image[window][mask] + 0.55 * colour).round()
        part[mask & ~_inside(mask)] = colour.round()
    return painted


def _inside(mask: np.ndarray) -> np.ndarray:
    """The pixels of a mask, (H, W), whose four neighbours are all in it."""
    around = np.pad(mask, 1)
    return around[:-2, 1:-1] & around[2:, 1:-1] & around[1:-1, :-2] & around[1:-1, 2:]

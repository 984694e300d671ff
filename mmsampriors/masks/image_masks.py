"""The one type by which masks travel: what masks an image has."""

from dataclasses import dataclass, fields

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

    def select(self, keep: Tensor) -> 'ImageMasks':
        """Some of the masks, in the order that they have.

        Args:
            keep (Tensor): (K,), bool.
        """
        keep = keep.to(self.bitmaps.device)
        return ImageMasks(*(getattr(self, f.name)[keep] for f in fields(self)))

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

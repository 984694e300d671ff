"""How well two sets of masks agree."""

from typing import NamedTuple

import torch
from torch import Tensor

from mmsampriors.masks import ImageMasks

# Pixels multiplied at a time: sums of so many ones are exact in float32, and memory stays at a few MB a mask.
PIXELS = 2**18


class Agreement(NamedTuple):
    """Mean best IoU of two sets of masks, each in [0, 1].

    Attributes:
        forth (float): Mean over the masks of the first set of the best IoU with one of the second.
        back (float): Mean over the masks of the second set of the best IoU with one of the first.
        mean (float): Mean of the two.
    """

    forth: float
    back: float
    mean: float


def agreement(ours: ImageMasks, theirs: ImageMasks) -> Agreement:
    """Mean best IoU in both directions.

    Two empty sets agree: 1. Where one of them is empty and the other is not, nothing is found: 0 in both directions.

    Args:
        ours (ImageMasks): K masks.
        theirs (ImageMasks): L masks of an image of the same size.

    Raises:
        ValueError: The images have different sizes.
    """
    if ours.size != theirs.size:
        raise ValueError(f'masks of images of different sizes cannot agree: {ours.size} and {theirs.size} (H, W)')
    if len(ours) == 0 or len(theirs) == 0:
        same = float(len(ours) == len(theirs))
        return Agreement(same, same, same)
    iou = pairwise_iou(ours.masks, theirs.masks)
    forth, back = iou.amax(1).mean().item(), iou.amax(0).mean().item()
    return Agreement(forth, back, (forth + back) / 2)


def pairwise_iou(ours: Tensor, theirs: Tensor) -> Tensor:
    """IoU of every mask with every other, by products of matrices.

    Args:
        ours (Tensor): (K, H, W), bool, none of them empty.
        theirs (Tensor): (L, H, W), likewise, on the same device.

    Returns:
        Tensor: (K, L), float64, in [0, 1].
    """
    ours, theirs = ours.flatten(1), theirs.flatten(1)
    shared = torch.zeros(len(ours), len(theirs), dtype=torch.float64, device=ours.device)
    for start in range(0, ours.shape[1], PIXELS):
        part = slice(start, start + PIXELS)
        shared += ours[:, part].float() @ theirs[:, part].float().T
    return shared / (ours.sum(1)[:, None] + theirs.sum(1) - shared)

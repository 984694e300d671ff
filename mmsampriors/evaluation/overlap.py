"""How well two sets of masks agree."""

from typing import NamedTuple

from mmsampriors.masks import ImageMasks, pairwise_iou


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
    iou = pairwise_iou(ours.bitmaps, theirs.bitmaps)
    forth, back = iou.amax(1).mean().item(), iou.amax(0).mean().item()
    return Agreement(forth, back, (forth + back) / 2)

"""What decides whether a mask is kept, measured on its logits, and binary masks at one bit a pixel."""

import torch
from torch import Tensor
from torch.nn import functional as F


def stability_scores(logits: Tensor, threshold: float, offset: float) -> Tensor:
    """IoU of the masks cut at ``threshold + offset`` and at ``threshold - offset``.

    Args:
        logits (Tensor): (K, H, W).
        threshold (float): Where masks are cut.
        offset (float): Distance of the two cuts.

    Returns:
        Tensor: (K,), float32; NaN where nothing exceeds the lower cut, as in segment_anything.
    """
    return _count_above(logits, threshold + offset) / _count_above(logits, threshold - offset)


def boxes_above(logits: Tensor, threshold: float) -> Tensor:
    """Boxes of the masks ``logits > threshold``, from the maxima of rows and columns.

    Args:
        logits (Tensor): (K, H, W).
        threshold (float): Where masks are cut.

    Returns:
        Tensor: (K, 4), float32, x0, y0, x1, y1, last row and column included; zeros for an empty mask.
    """
    left, right = _ends(logits.amax(1) > threshold)
    top, bottom = _ends(logits.amax(2) > threshold)
    return torch.stack([left, top, right, bottom], 1).float()


def pack_above(logits: Tensor, threshold: float) -> Tensor:
    """The masks ``logits > threshold`` at one bit a pixel.

    Args:
        logits (Tensor): (K, H, W).
        threshold (float): Where masks are cut.

    Returns:
        Tensor: (K, ceil(H * W / 8)), uint8.
    """
    bits = (logits > threshold).flatten(1)
    eights = F.pad(bits, (0, -bits.shape[1] % 8)).view(torch.int64)  # of bytes that are 0 or 1, the first one lowest
    return (eights * 0x0102040810204080 >> 56).to(torch.uint8)  # the i-th byte comes to the i-th bit of the last byte


def unpack(packed: Tensor, size: tuple) -> Tensor:
    """Inverse of :func:`pack_above`: (K, H, W), bool, for ``size`` (H, W)."""
    bits = packed[..., None] >> torch.arange(8, dtype=torch.uint8, device=packed.device) & 1
    return bits.flatten(1)[:, : size[0] * size[1]].unflatten(1, size).bool()


def _count_above(logits: Tensor, threshold: float) -> Tensor:
    """(K,), float32, pixels above ``threshold``; added as floats: exact below 2^24, and much faster than as bools."""
    return torch.gt(logits, threshold, out=torch.empty_like(logits)).sum((1, 2), dtype=torch.float32)


def _ends(marked: Tensor) -> tuple:
    """First and last marked index of each row of (K, L); zeros where none is."""
    last = marked.shape[1] - 1
    marks = marked.int()
    return marks.argmax(1), (last - marks.flip(1).argmax(1)) * marked.any(1)

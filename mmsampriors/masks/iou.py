"""How much masks overlap."""

import torch
from torch import Tensor

# Pixels multiplied at a time: sums of so many ones are exact in float32, and memory stays at a few MB a mask.
PIXELS = 2**18


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

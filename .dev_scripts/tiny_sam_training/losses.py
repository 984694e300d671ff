"""SAM's losses, for clicks that have up to three right answers, and a dense one that teaches the encoder to group."""

from itertools import permutations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

FOCAL_WEIGHT = 20.0  # SAM, appendix A: focal to dice 20 : 1
IDLE_WEIGHT = 0.05  # [ours] outputs with no answer of their own follow the nearest one, so that they stay masks


def mask_costs(logits: Tensor, targets: Tensor, valid: Tensor) -> Tensor:
    """Focal plus dice loss of every output against every target.

    Args:
        logits (Tensor): (N, O, h, w).
        targets (Tensor): (N, G, h, w), coverage in [0, 1].
        valid (Tensor): (N, 1, h, w), 1 inside the image, 0 in the padding.

    Returns:
        Tensor: (N, O, G).
    """
    logits, targets = logits.flatten(2), (targets * valid).flatten(2).transpose(1, 2)
    valid = valid.flatten(2)
    prob = torch.sigmoid(logits) * valid
    hit = (1 - prob) ** 2 * F.softplus(-logits) * valid
    miss = prob**2 * F.softplus(logits)
    focal = (hit - miss) @ targets + miss.sum(2, keepdim=True)
    focal = 0.5 * focal / valid.sum(2, keepdim=True)
    total = prob.sum(2, keepdim=True) + targets.sum(1, keepdim=True)
    dice = 1 - (2 * (prob @ targets) + 1) / (total + 1)
    return FOCAL_WEIGHT * focal + dice


@torch.no_grad()
def mask_ious(logits: Tensor, targets: Tensor, valid: Tensor) -> Tensor:
    """IoU of every output with every target, thresholded; shapes as in :func:`mask_costs`."""
    masks = ((logits > 0) * valid).flatten(2)
    truths = ((targets >= 0.5) * valid).flatten(2).transpose(1, 2)
    inter = masks @ truths
    return inter / (masks.sum(2, keepdim=True) + truths.sum(1, keepdim=True) - inter).clamp(min=1)


def assignment_loss(costs: Tensor, weights: Tensor) -> Tensor:
    """Gives each right answer an output of its own, at the least total cost.

    With one right answer this is SAM's minimum over outputs.

    Args:
        costs (Tensor): (N, 3, 3), outputs by targets.
        weights (Tensor): (N, 3), 1 for a target that counts.

    Returns:
        Tensor: (N,).
    """
    orders = torch.tensor(list(permutations(range(3))), device=costs.device)  # (6, 3): the output of each target
    paired = costs[:, orders, torch.arange(3, device=costs.device)]  # (N, 6, 3)
    nearest = costs.masked_fill(weights[:, None] == 0, torch.inf).amin(2)  # (N, 3), per output
    idle = torch.where(nearest.isfinite(), nearest, 0)[:, orders] * (1 - weights[:, None])
    totals = (paired * weights[:, None] + IDLE_WEIGHT * idle).sum(2)
    return totals.amin(1) / weights.sum(1).clamp(min=1)


class GroupingLoss(nn.Module):
    """Tells from two positions' embeddings whether they lie in one leaf, and whether in one object.

    Thousands of pairs an image teach the encoder what a handful of clicks would teach slowly. Not part of the Sam.

    Args:
        chans (int): Channels of the embedding.
    """

    def __init__(self, chans: int):
        super().__init__()
        self.projections = nn.ModuleList(nn.Conv1d(chans, 32, 1) for _ in range(2))
        self.bias = nn.Parameter(torch.zeros(2))

    def forward(self, vectors: Tensor, leaves: Tensor, objects: Tensor) -> Tensor:
        """The balanced cross-entropy over pairs, a scalar.

        Args:
            vectors (Tensor): (B, C, K), the embedding at K places.
            leaves (Tensor): (B, K), int64, what lies there; 0 where unknown.
            objects (Tensor): (B, K), int64, likewise.
        """
        losses = []
        for projection, bias, labels in zip(self.projections, self.bias, (leaves, objects)):
            projected = projection(vectors)
            logits = projected.transpose(1, 2) @ projected / 4 + bias
            known = (labels > 0)[:, :, None] & (labels > 0)[:, None]
            same = labels[:, :, None] == labels[:, None]
            loss = F.binary_cross_entropy_with_logits(logits, same.float(), reduction='none')
            losses += [(loss * m).sum() / m.sum().clamp(min=1) for m in (known & same, known & ~same)]
        return sum(losses) / 4

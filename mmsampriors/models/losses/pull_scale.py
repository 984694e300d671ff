"""The scale of a loss whose weight is a share of the student's own loss [ours]."""

import torch
from mmengine.dist import all_reduce
from torch import Tensor, nn


class PullScale(nn.Module):
    """The factor by which a loss pulls at the restored image as hard as the student's own loss does.

    The pull of a loss is the L2 norm of its gradient at the restored image. Both pulls are measured in the backward
    pass that a step needs anyway, so the factor of a step comes from the steps before it: it is one over the root mean
    square of ``pull / student's pull``, over about ``1 / momentum`` steps. The first step has no past. It takes a
    factor next to nothing, and only measures.

    An image at which the loss does not pull, such as one without masks, counts for nothing. A step without any other
    image, or with a gradient that is not finite, leaves the factor as it is. What multiplies both losses (a
    GradScaler, gradient accumulation) cancels. N ranks with batches of b measure what one rank with a batch of N·b
    does, and all have the same factor. It is a buffer, and saved with the model.

    Args:
        momentum (float): Share of the latest step in the mean, in (0, 1].
    """

    UNMEASURED = 1e-4

    def __init__(self, momentum: float = 0.02):
        super().__init__()
        self.momentum = momentum
        # Weighted sums over the steps: of the squared ratio at a factor of 1, and of the weights.
        self.register_buffer('sums', torch.zeros(2))

    def forward(self) -> Tensor:
        """The factor, a scalar without gradient."""
        squares, weights = self.sums
        return torch.where(squares > 0, (weights / squares).sqrt(), self.UNMEASURED)

    def reset(self):
        """Forgets what was measured, as it was with another loss or other data."""
        self.sums.zero_()

    @torch.no_grad()
    def update(self, pulls: Tensor, students: Tensor, weight: float, part: float = 1.0):
        """Notes what a step has measured. In a distributed run all ranks call it.

        Args:
            pulls (Tensor): (N,), squared norm of the gradient at each image of the loss, which was multiplied by
                ``weight`` and the factor of now.
            students (Tensor): (N,), likewise of the student's own loss.
            weight (float): Above 0.
            part (float): Of a step that was measured, in (0, 1]: gradient accumulation makes a step of several parts.
        """
        momentum = self.momentum * part
        totals = torch.stack([pulls.sum(), (students * (pulls > 0)).sum()]).to(self.sums)
        all_reduce(totals)
        ratio = totals[0] / totals[1] / (weight * self()).square()
        added = momentum * torch.stack([ratio, torch.ones_like(ratio)])
        self.sums.copy_(torch.where(ratio.isfinite() & (ratio > 0), (1 - momentum) * self.sums + added, self.sums))

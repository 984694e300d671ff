"""SPD: the loss that distils the refined image into the student [paper, "SPD"]; its form is [ours]."""

from typing import Callable, Optional

import torch
from mmengine.dist import all_reduce
from torch import Tensor, nn

from mmsampriors.registry import MODELS, build_part


@MODELS.register_module()
class SPDLoss(nn.Module):
    """``loss_weight`` times a distance of the restored from the refined image.

    The default distance is the squared one, in the unit of the student's own pixel loss: a difference from the refined
    image pulls exactly ``loss_weight`` times as hard as the same difference from the ground truth would. Both together
    then pull towards ``(gt + loss_weight * refined) / (1 + loss_weight)``, whatever the student trains with. L1 and
    PSNR losses themselves would pull the harder at a restored image, the closer the refined one is to it.

    Args:
        loss_weight (float): λ1 of docs/how_it_works.md.
        pixel_loss (dict, optional): Config of a pixel loss to use instead. Defaults to None: the squared distance.
        gate (bool): Whether to distil only those pixels whose refined value is closer to the ground truth than the
            restored one, by the squared distance over the channels. Images without ground truth pass whole [ours].
    """

    def __init__(self, loss_weight: float = 1.0, pixel_loss: Optional[dict] = None, gate: bool = False):
        super().__init__()
        self.loss_weight, self.gate = loss_weight, gate
        self.pixel_loss = build_part(MODELS, pixel_loss) if pixel_loss else None

    def forward(
        self, restored: Tensor, refined: Tensor, gt: Tensor, student_loss: Callable, unlabeled_weight: float = 1.0
    ) -> Tensor:
        """Compares the restored with the refined image.

        Images without ground truth have no unit of their own: theirs is the mean of those that have one [ours].

        Args:
            restored (Tensor): (N, C, H, W), the student's image.
            refined (Tensor): (N, C, H, W), the refiner's image, the target: it gets no gradient.
            gt (Tensor): (n, C, H, W), the ground truth of the first n of the N images.
            student_loss (callable): The pixel loss that the student trains with.
            unlabeled_weight (float): How many times an image without ground truth counts.

        Returns:
            Tensor: Scalar.
        """
        refined, known = refined.detach(), slice(len(gt))
        if self.gate:
            # A pixel that is its own target has no loss.
            closer = is_closer(refined[known], restored[known].detach(), gt)
            gated = torch.where(closer, refined[known], restored[known].detach())
            refined = torch.cat([gated, refined[len(gt) :]])
        unknown = slice(len(gt), None) if len(restored) > len(gt) else None
        if self.pixel_loss is not None:
            loss = self.pixel_loss(restored[known], refined[known])
            if unknown:
                share = len(restored[unknown]) / len(gt)
                loss = loss + unlabeled_weight * share * self.pixel_loss(restored[unknown], refined[unknown])
            return self.loss_weight * loss
        weights = pull_per_difference(restored[known], gt, student_loss)
        if unknown:
            theirs = unlabeled_weight * weights.mean(0, keepdim=True)
            all_reduce(theirs, 'mean')  # each rank has as many of both kinds
            weights = torch.cat([weights, theirs.expand(len(restored) - len(gt), -1, -1, -1)])
        return self.loss_weight * (weights * (restored - refined).square()).sum() / 2


def is_closer(ours: Tensor, theirs: Tensor, gt: Tensor) -> Tensor:
    """Pixels at which one image is closer to the ground truth than another.

    Args:
        ours (Tensor): (N, C, H, W).
        theirs (Tensor): (N, C, H, W).
        gt (Tensor): (N, C, H, W).

    Returns:
        Tensor: (N, 1, H, W), bool.
    """
    errors = [(image - gt).square().sum(1, keepdim=True) for image in (ours, theirs)]
    return errors[0] < errors[1]


def pull_per_difference(restored: Tensor, gt: Tensor, loss: Callable) -> Tensor:
    """How hard a pixel loss pulls at an image, as a share of the image's difference from the ground truth.

    Args:
        restored (Tensor): (N, C, H, W).
        gt (Tensor): (N, C, H, W).
        loss (callable): Maps two images to a scalar.

    Returns:
        Tensor: (N, 1, 1, 1), the L2 norm of the loss's gradient over that of the difference; 0 where the images are
        equal.
    """
    with torch.enable_grad():
        restored = restored.detach().requires_grad_()
        (pull,) = torch.autograd.grad(loss(restored, gt), restored)
    pull, difference = (one.flatten(1).norm(dim=1) for one in (pull, (restored - gt).detach()))
    return (pull / difference).nan_to_num(0.0, posinf=0.0)[:, None, None, None]

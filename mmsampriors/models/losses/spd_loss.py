"""SPD: the loss that distils the refined image into the student [paper, "SPD"]."""
from typing import Callable, Optional

from mmagic.registry import MODELS
from torch import Tensor, nn


@MODELS.register_module()
class SPDLoss(nn.Module):
    """``loss_weight * pixel_loss(restored, refined)``.

    Args:
        loss_weight (float): λ1 of METHOD.md.
        pixel_loss (dict, optional): Config of a pixel loss. Defaults to None: the student's own, so that λ1 means the
            same for every config [ours].
    """

    def __init__(self, loss_weight: float = 0.5, pixel_loss: Optional[dict] = None):
        super().__init__()
        self.loss_weight = loss_weight
        self.pixel_loss = MODELS.build(pixel_loss) if pixel_loss else None

    def forward(self, restored: Tensor, refined: Tensor, student_loss: Callable) -> Tensor:
        """Compares the two images.

        Args:
            restored (Tensor): (N, C, H, W), the student's image.
            refined (Tensor): (N, C, H, W), the refiner's image, the target: it gets no gradient.
            student_loss (callable): The pixel loss that the student trains with.

        Returns:
            Tensor: Scalar.
        """
        return self.loss_weight * (self.pixel_loss or student_loss)(restored, refined.detach())

"""What the analyzers share: the statistics of the images that they were trained on."""

import torch
from torch import Tensor, nn


class Normalization(nn.Module):
    """``(images - mean) / std``.

    Args:
        mean (tuple[float]): Of the channels R, G, B, of values in [0, 1].
        std (tuple[float]): Likewise.
    """

    def __init__(self, mean, std):
        super().__init__()
        self.register_buffer('mean', torch.tensor(mean).view(-1, 1, 1), persistent=False)
        self.register_buffer('std', torch.tensor(std).view(-1, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        return (images - self.mean) / self.std

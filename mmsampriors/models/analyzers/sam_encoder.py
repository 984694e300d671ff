"""SAM's own image encoder as the analyzer."""

import math
from typing import Optional

import torch.nn.functional as F
from torch import Tensor, nn

from mmsampriors.masks import build_sam
from mmsampriors.registry import MODELS

from .normalization import Normalization


@MODELS.register_module()
class SAMEncoderAnalyzer(nn.Module):
    """Image embedding of a ``segment_anything`` ``Sam``.

    Args:
        model_type (str): ``vit_h``, ``vit_l``, ``vit_b`` or ``tiny``.
        checkpoint (str, optional): File or URL; see :func:`mmsampriors.masks.build_sam`.
    """

    def __init__(self, model_type: str = 'tiny', checkpoint: Optional[str] = None):
        super().__init__()
        sam = build_sam(model_type, checkpoint)
        mean, std = sam.pixel_mean.flatten() / 255, sam.pixel_std.flatten() / 255
        self.encoder, self.normalize = sam.image_encoder, Normalization(mean.tolist(), std.tolist())

    def forward(self, images: Tensor) -> Tensor:
        """Embedding of the images.

        Args:
            images (Tensor): (N, 3, H, W), RGB in [0, 1].

        Returns:
            Tensor: (N, C, h, w), the part of the embedding that shows the image and not its padding.
        """
        side = self.encoder.img_size
        height, width = images.shape[-2:]
        scale = side / max(height, width)
        resized = F.interpolate(
            self.normalize(images), (round(height * scale), round(width * scale)), mode='bilinear', antialias=True
        )
        padded = F.pad(resized, (0, side - resized.shape[3], 0, side - resized.shape[2]))
        features = self.encoder(padded)
        rows, columns = (math.ceil(length * features.shape[-1] / side) for length in resized.shape[2:])
        return features[..., :rows, :columns]

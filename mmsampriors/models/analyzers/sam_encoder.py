"""SAM's own image encoder as the analyzer."""

import math
from typing import Optional

import torch.nn.functional as F
from torch import Tensor, nn

from mmsampriors.masks import shared_sam
from mmsampriors.masks.sam.resizing import shown_shape, stretches
from mmsampriors.registry import MODELS

from .normalization import Normalization


@MODELS.register_module()
class SAMEncoderAnalyzer(nn.Module):
    """Image embedding of a SAM.

    Args:
        model_type (str): As in ``SAMMasks``; see :func:`mmsampriors.masks.build_sam`.
        checkpoint (str, optional): File or URL, likewise.
    """

    def __init__(self, model_type: str = 'tiny', checkpoint: Optional[str] = None):
        super().__init__()
        sam = shared_sam(model_type, checkpoint)
        self.shared = (sam,)  # kept whole, and no submodule: whoever asks for it next gets this one
        mean, std = sam.pixel_mean.flatten() / 255, sam.pixel_std.flatten() / 255
        self.encoder, self.normalize = sam.image_encoder, Normalization(mean.tolist(), std.tolist())
        self.stretched = stretches(sam)

    def forward(self, images: Tensor) -> Tensor:
        """Embedding of the images.

        Args:
            images (Tensor): (N, 3, H, W), RGB in [0, 1].

        Returns:
            Tensor: (N, C, h, w), the part of the embedding that shows the image and not its padding.
        """
        side = self.encoder.img_size
        shown = shown_shape(images.shape[-2:], side, self.stretched)
        resized = F.interpolate(self.normalize(images), shown, mode='bilinear', antialias=True)
        padded = F.pad(resized, (0, side - resized.shape[3], 0, side - resized.shape[2]))
        features = self.encoder(padded)
        rows, columns = (math.ceil(length * features.shape[-1] / side) for length in resized.shape[2:])
        return features[..., :rows, :columns]

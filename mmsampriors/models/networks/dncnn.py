"""DnCNN, the example of a network from outside mmagic: registering it is all that it needs."""

from mmengine.model import BaseModule
from torch import Tensor, nn

from mmsampriors.registry import MODELS


@MODELS.register_module()
class DnCNN(BaseModule):
    """A plain convolutional network that predicts the noise, and subtracts it.

    Written from Zhang et al., "Beyond a Gaussian Denoiser: Residual Learning of Deep CNN for Image Denoising", TIP 2017
    (figure 1): a convolution, ``depth - 2`` convolutions with batch normalization, and a convolution, all of 3 by 3,
    with ReLU between them. It takes images of any size.

    Args:
        channels (int): Of the image, 3 or 1.
        width (int): Of the feature maps.
        depth (int): Convolutions, at least 3: 17 for a known noise level, 20 for an unknown one, as published.
        norm (bool): Whether there is batch normalization. False suits batches of unlike images, whose statistics it
            would mix [ours].
        init_cfg (dict, optional): Initial weights. Defaults to He's, as published.

    Raises:
        ValueError: ``depth`` is less than 3.
    """

    def __init__(self, channels: int = 3, width: int = 64, depth: int = 17, norm: bool = True, init_cfg: dict = None):
        super().__init__(init_cfg or dict(type='Kaiming', layer='Conv2d'))
        if depth < 3:
            raise ValueError(f'DnCNN has at least 3 convolutions, found depth={depth}')
        layers = [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU()]
        for _ in range(depth - 2):
            # Batch normalization brings its own bias.
            layers += [nn.Conv2d(width, width, 3, padding=1, bias=not norm)]
            layers += [nn.BatchNorm2d(width), nn.ReLU()] if norm else [nn.ReLU()]
        self.noise = nn.Sequential(*layers, nn.Conv2d(width, channels, 3, padding=1))

    def forward(self, images: Tensor) -> Tensor:
        """Restores (N, C, H, W)."""
        return images - self.noise(images)

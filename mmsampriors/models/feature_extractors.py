"""Frozen networks whose features SGR compares [paper: VGG; the others are ours]."""

import math
import os.path as osp
from typing import Dict, Optional

import timm
import torch
import torch.nn.functional as F
from mmengine.logging import print_log
from torch import Tensor, nn
from torchvision.models import VGG19_Weights
from torchvision.models.vgg import cfgs, make_layers

from mmsampriors.checkpoints import download_checkpoint, read_weights
from mmsampriors.masks import shared_sam
from mmsampriors.masks.sam.ops import shown_shape, stretches
from mmsampriors.masks.sam.tiny import fold_norms, imagenet_weights
from mmsampriors.registry import MODELS, build_part


class OnDemand:
    """A frozen network that training uses and that the model does not own.

    It is no :class:`torch.nn.Module`, so that what it builds is in no ``state_dict``, ``parameters()``, optimizer,
    DDP wrapper or EMA copy. Copies share the network.

    Args:
        cfg (dict): Config of a registered ``nn.Module``.
    """

    def __init__(self, cfg: dict):
        self.cfg = cfg
        self._network = None

    def __deepcopy__(self, memo):
        return self

    def build(self, device: torch.device) -> nn.Module:
        """The network on ``device``, in eval mode, without gradients of its own."""
        if self._network is None:
            self._network = build_part(MODELS, self.cfg).eval().requires_grad_(False)
        return self._network.to(device)

    def __call__(self, images: torch.Tensor):
        return self.build(images.device)(images)


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


RANDOM = 'random'


def load_weights_file(path: str, key: str) -> Dict[str, Tensor]:
    """Reads a state dict.

    Args:
        path (str): ``*.safetensors``, or a file written by ``torch.save``.
        key (str): Config key that names the file, for the error.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file is not a state dict, or is cut off.
    """
    if not osp.isfile(path):
        raise FileNotFoundError(f'{key} names {path}, and there is no such file')
    try:
        return read_weights(path)
    except ValueError as error:
        raise ValueError(f'{key} names {path}, which cannot be read as weights: {error}') from error


def warn_random(name: str):
    """Says loudly that a feature extractor knows nothing."""
    print_log(
        f'{name} has RANDOM weights: its features mean nothing, and so does SGR. This is for tests only.',
        logger='current',
        level=30,
    )


@MODELS.register_module()
class EfficientNetExtractor(nn.Module):
    """Features of timm's ``tf_efficientnet_lite0``, its batch normalizations folded into the convolutions.

    Args:
        stage (int): Stage of blocks to take, 0 to 6: stage 1 has a quarter, 2 an eighth, 3 and 4 a sixteenth, 5 and 6
            a thirty-second of the resolution.
        weights (str): ``'imagenet'`` or ``'random'`` (tests only).
    """

    def __init__(self, stage: int = 2, weights: str = 'imagenet'):
        super().__init__()
        if stage not in range(7):
            raise ValueError(f'spd.feature_extractor.stage must be 0 to 6, found {stage!r}')
        if weights not in ('imagenet', RANDOM):
            raise ValueError(f"spd.feature_extractor.weights must be 'imagenet' or 'random', found {weights!r}")
        network = timm.create_model('tf_efficientnet_lite0', pretrained=False)
        if weights == RANDOM:
            warn_random('EfficientNetExtractor')
        else:
            network.load_state_dict(imagenet_weights(network))
        self.normalize = Normalization((127 / 255,) * 3, (128 / 255,) * 3)
        network.eval()
        self.stem = fold_norms(nn.Sequential(network.conv_stem, network.bn1))
        self.blocks = fold_norms(network.blocks[: stage + 1])

    def forward(self, images: Tensor) -> Tensor:
        """Features, (N, C, h, w), of images, (N, 3, H, W), RGB in [0, 1]."""
        return self.blocks(self.stem(self.normalize(images)))


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


VGG_REMEDY = (
    'name the file in model.spd.feature_extractor.weights, or use a feature extractor that needs no download: '
    "model.spd.feature_extractor.type='EfficientNetExtractor'"
)


@MODELS.register_module()
class VGGExtractor(nn.Module):
    """Features of torchvision's VGG-19.

    Args:
        layer (str): Activation to take: ``relu3_4`` has a quarter, ``relu4_4`` an eighth of the resolution.
        weights (str): ``'imagenet'`` (torchvision's, downloaded on first use), the path of a file with a state dict of
            torchvision's ``vgg19``, or ``'random'`` (tests only).

    Raises:
        FileNotFoundError: There is no such file, or the weights cannot be downloaded.
        ValueError: The file is cut off or holds other weights, or there is no such layer.
    """

    def __init__(self, layer: str = 'relu4_4', weights: str = 'imagenet'):
        super().__init__()
        if layer not in RELU:
            raise ValueError(f'spd.feature_extractor.layer must be one of {sorted(RELU)}, found {layer!r}')
        features = make_layers(cfgs['E'])
        if weights == RANDOM:
            warn_random('VGGExtractor')
        else:
            if weights == 'imagenet':
                weights = str(download_checkpoint(VGG19_Weights.IMAGENET1K_V1.url, check=True, remedy=VGG_REMEDY))
            _load_features(features, load_weights_file(weights, 'model.spd.feature_extractor.weights'), weights)
        self.normalize = Normalization((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
        # In-place activations would change features that a loss still needs.
        layers = [nn.ReLU() if isinstance(module, nn.ReLU) else module for module in features[: RELU[layer] + 1]]
        self.features = nn.Sequential(*layers)

    def forward(self, images: Tensor) -> Tensor:
        """Features, (N, C, h, w), of images, (N, 3, H, W), RGB in [0, 1]."""
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


@MODELS.register_module()
class SAMEncoderExtractor(nn.Module):
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
        """Embedding, (N, C, h, w), of images, (N, 3, H, W), RGB in [0, 1]; without what shows their padding."""
        side = self.encoder.img_size
        shown = shown_shape(images.shape[-2:], side, self.stretched)
        resized = F.interpolate(self.normalize(images), shown, mode='bilinear', antialias=True)
        padded = F.pad(resized, (0, side - resized.shape[3], 0, side - resized.shape[2]))
        features = self.encoder(padded)
        rows, columns = (math.ceil(length * features.shape[-1] / side) for length in resized.shape[2:])
        return features[..., :rows, :columns]

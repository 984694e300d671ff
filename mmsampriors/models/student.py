"""A student in PyTorch: the network with all that stands between a photograph and its input."""

from typing import Dict, Tuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmsampriors.models.generator_weights import load_generator
from mmsampriors.models.network_probe import probe_network
from mmsampriors.models.rgb import from_rgb, to_rgb
from mmsampriors.registry import MODELS, build_part

MULTIPLES = (1, 2, 4, 8, 16, 32, 64)  # of rows and columns


class Student(nn.Module):
    """A network that takes images and gives images: channel order, range, normalization and padding are inside.

    Args:
        generator (nn.Module): The network, of mmagic or registered.
        preprocessor (DataPreprocessor): Of its config, for mean and standard deviation.
        channel_order (str): In which it takes a colour image, 'rgb' or 'bgr'.

    Attributes:
        channels (int): Of its image: 3 or, for a gray network, 1.
        multiple (int): Of which height and width are made multiples; 1 where the network takes any size.

    Raises:
        ValueError: The network does not restore an image at its own size.
    """

    def __init__(self, generator: nn.Module, preprocessor: nn.Module, channel_order: str):
        super().__init__()
        self.generator, self.preprocessor = generator.eval(), preprocessor
        self.channels = probe_network(generator).image_channels
        self.order = (preprocessor.output_channel_order or channel_order).lower()
        self.multiple = _multiple_of(self.generator, self.channels)

    def forward(self, images: Tensor) -> Tensor:
        """Restores (N, 3, H, W), RGB in [0, 1], or for a gray network (N, 1, H, W); the result is cut off to [0, 1].

        A gray network takes the gray image of an RGB one.
        """
        return self.image_of(self.generator(self.input_of(images)), images.shape[-2:])

    @torch.no_grad()
    def restore(self, images: Tensor) -> Tensor:
        """Restores (N, 3, H, W), RGB in [0, 1], where the images are; what a gray network gives gets three channels."""
        return self.to(images.device)(images).expand(-1, 3, -1, -1)

    def input_of(self, images: Tensor) -> Tensor:
        """What the network takes for images as :meth:`forward` takes them."""
        height, width = images.shape[-2:]
        if self.multiple > 1:
            images = F.pad(images, (0, -width % self.multiple, 0, -height % self.multiple), mode='replicate')
        return from_rgb(images, self.preprocessor, self.order, self.channels)

    def image_of(self, outputs: Tensor, size: Tuple[int, int]) -> Tensor:
        """The images, of height and width ``size``, in [0, 1], that the network's output stands for."""
        images = to_rgb(outputs[..., : size[0], : size[1]], self.preprocessor, self.order)
        return images[:, : self.channels].clamp(0, 1)


def _multiple_of(generator, channels):
    """The least number that height and width must be multiples of."""
    weight = next(generator.parameters())
    for multiple in MULTIPLES:
        height, width = multiple * (64 // multiple + 1), multiple * (64 // multiple + 3)
        image = weight.new_zeros(1, channels, height, width)
        try:
            with torch.no_grad():
                if generator(image).shape == image.shape:
                    return multiple
        except (RuntimeError, ValueError, AssertionError, IndexError):
            continue
    raise ValueError(
        f'{type(generator).__name__} restores no image of {height} by {width} pixels, nor smaller ones near that size'
    )


def build_student(model: dict, weights: Dict[str, Tensor], channel_order: str, source: str) -> Student:
    """The student of a model's config.

    Args:
        model (dict): ``model`` of a config, of an SPDModel or a stock one. Losses are not built.
        weights (dict[str, Tensor]): A state dict with ``generator.*``.
        channel_order (str): As for :class:`Student`.
        source (str): Where the weights come from, for errors.

    Raises:
        ValueError: The weights do not fit the network.
    """
    generator = build_part(MODELS, model['generator'])
    load_generator(generator, weights, f'the checkpoint {source}', 'model.generator')
    preprocessor = build_part(
        MODELS, model.get('data_preprocessor') or dict(type='DataPreprocessor', mean=None, std=None)
    )
    return Student(generator, preprocessor, channel_order)

"""What is done to restoration networks: building, probing, copying and loading students; a small DnCNN."""

import itertools
from copy import deepcopy
from dataclasses import dataclass
from typing import Dict, Optional, Tuple

import torch
import torch.nn.functional as F
from mmengine.model import BaseModule, is_model_wrapper
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from mmsampriors.checkpoints import GENERATOR
from mmsampriors.registry import MODELS, build_network, build_part

from .batch import from_rgb, to_rgb


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


MULTIPLES = (1, 2, 4, 8, 16, 32, 64)  # of rows and columns


class Student(nn.Module):
    """A network that takes images and gives images: channel order, range, normalization and padding are inside.

    Args:
        generator (nn.Module): The network, of mmagic or registered.
        preprocessor (DataPreprocessor): Of its config, for mean and standard deviation.
        channel_order (str): In which it takes a colour image, 'rgb' or 'bgr'.

    Attributes:
        channels (int): Of its image: 3 or, for a gray network, 1.
        scale (int): How many times larger than the image what it restores is.
        multiple (int): Of which height and width are made multiples; 1 where the network takes any size.

    Raises:
        ValueError: The network does not restore an image at its own size or at a multiple of it.
    """

    def __init__(self, generator: nn.Module, preprocessor: nn.Module, channel_order: str):
        super().__init__()
        self.generator, self.preprocessor = generator.eval(), preprocessor
        probe = probe_network(generator)
        self.channels, self.scale = probe.image_channels, probe.scale
        self.order = (preprocessor.output_channel_order or channel_order).lower()
        self.multiple = _multiple_of(self.generator, self.channels, self.scale)

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
        """The images in [0, 1] that the network's output stands for; ``size`` is height and width of its input."""
        height, width = self.scale * size[0], self.scale * size[1]
        images = to_rgb(outputs[..., :height, :width], self.preprocessor, self.order)[:, : self.channels]
        return images.clamp(0, 1) + 0 * images  # what is infinite becomes NaN and not white


def _multiple_of(generator, channels, scale):
    """The least number that height and width must be multiples of."""
    weight = next(generator.parameters())
    for multiple in MULTIPLES:
        height, width = multiple * (64 // multiple + 1), multiple * (64 // multiple + 3)
        image = weight.new_zeros(1, channels, height, width)
        try:
            with torch.no_grad():
                if generator(image).shape == (1, channels, scale * height, scale * width):
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
    generator = build_network(model['generator'])
    load_generator(generator, weights, f'the checkpoint {source}', 'model.generator')
    preprocessor = build_part(
        MODELS, model.get('data_preprocessor') or dict(type='DataPreprocessor', mean=None, std=None)
    )
    return Student(generator, preprocessor, channel_order)


SIDES = (32, 128)  # of the image, in pixels: the second for networks that take none as small as the first
REFUSALS = (RuntimeError, ValueError, TypeError, IndexError, KeyError, AttributeError, AssertionError)


@dataclass(frozen=True)
class NetworkProbe:
    """A network that maps an image to one image of the same size, or of a multiple of it.

    Args:
        image_channels (int): Channels of the image, 3 or 1.
        entry (str, optional): Name of the submodule that makes the first feature map; None where that map's size does
            not divide the image's.
        entry_channels (int): Channels of that feature map.
        scale (int): How many times larger than the image the output is, at least 1.
        entry_stride (int): How many pixels of the image a side of a position of that map has.
    """

    image_channels: int
    entry: Optional[str]
    entry_channels: int
    scale: int = 1
    entry_stride: int = 1


def probe_network(network: nn.Module, entry: Optional[str] = None) -> NetworkProbe:
    """Runs the network on an image of 32 by 32 pixels (after a reduction), or of 128 by 128 where it fails on that.

    Args:
        network (nn.Module): The student or the refiner.
        entry (str, optional): Name of the submodule to take as the entry. Defaults to None: the first convolution
            that is run.

    Raises:
        ValueError: The network changes the image's channels or its size by no whole factor, or takes no image; or
            ``entry`` names no submodule, or one whose feature map's size does not divide the image's.
    """
    convolutions = [module for module in network.modules() if isinstance(module, nn.Conv2d)]
    watched = convolutions if entry is None else [_submodule(network, entry)]
    reached = []
    handles = [module.register_forward_hook(lambda *call: reached.append(call)) for module in watched]
    try:
        channels, side, output = _run(network, reached)
    finally:
        for handle in handles:
            handle.remove()
    scale = output.shape[-1] // side
    if scale < 1 or output.shape[1:] != (channels, scale * side, scale * side):
        raise ValueError(
            f'{type(network).__name__} maps an image of {channels}x{side}x{side} to '
            f'{"x".join(map(str, output.shape[1:]))}. SPD needs a network that restores an image at its own size, or '
            'at a whole multiple of it'
        )
    module, _, feature = reached[0] if reached else (None, None, None)
    stride = _entry_stride(feature, side, getattr(network, 'reduction', 1))
    if stride:
        name = next(name for name, other in network.named_modules() if other is module)
        return NetworkProbe(channels, name, feature.shape[1], scale, stride)
    if entry is None:
        return NetworkProbe(channels, None, 0, scale)
    found = tuple(feature.shape) if isinstance(feature, Tensor) else type(feature).__name__
    raise ValueError(
        f'spd.spf.entry={entry!r} of {type(network).__name__} makes no feature map at the resolution of '
        f"the image (found {found}): name one that does, or set spd.spf.inject='image'"
    )


def _entry_stride(feature, side: int, reduction: int) -> Optional[int]:
    """Pixels of the image to a position of a feature map; None where that is none that the SPF unit takes.

    Padding may make a map larger. Of networks behind a reduction some reduce once more, as RRDBNet does for a factor
    of 2.
    """
    strides = (1,) if reduction == 1 else (1, reduction, 2 * reduction)
    if isinstance(feature, Tensor) and feature.ndim == 4:
        return next((stride for stride in strides if min(feature.shape[2:]) * stride >= side), None)
    return None


class LowResolutionRefiner(BaseModule):
    """A super-resolution network as a refiner, which gets images of the size of its output [ours].

    The image is reduced before the network enlarges it again, so that refining costs what restoring does. What the
    reduction loses reaches the network's first feature map through the SPF unit.

    Args:
        network (Module): Maps (N, C, h, w) to (N, C, s·h, s·w).
        reduction (int): s.
    """

    def __init__(self, network: nn.Module, reduction: int):
        super().__init__()
        self.network, self.reduction = network, reduction

    def forward(self, images: Tensor) -> Tensor:
        """Refines images, (N, C, H, W), H and W multiples of s."""
        size = [side // self.reduction for side in images.shape[2:]]
        return self.network(F.interpolate(images, size, mode='bicubic', antialias=True))


#: The refiner of a student that enlarges, at the size of its image, where the config names none [ours].
FULL_SIZE_REFINER = dict(type='DnCNN', width=16, depth=6, norm=False)


def build_refiner(refiner: Optional[dict], student: dict) -> nn.Module:
    """The refiner of a config, for images of the size that the student restores.

    Args:
        refiner (dict, optional): Config of a network. None: the student's, or where that enlarges a small network at
            full size.
        student (dict): Config of the student.
    """
    network = build_part(MODELS, deepcopy(refiner)) if refiner else build_network(deepcopy(student))
    probe = probe_network(network)
    if probe.scale == 1:
        return network
    if refiner:
        return LowResolutionRefiner(network, probe.scale)
    return build_part(MODELS, dict(FULL_SIZE_REFINER, channels=probe.image_channels))


def network_of(refiner: nn.Module) -> nn.Module:
    """The network that a config named, without what makes a refiner of it."""
    return refiner.network if isinstance(refiner, LowResolutionRefiner) else refiner


def probe_pair(student: nn.Module, refiner: nn.Module, entry: Optional[str] = None) -> Tuple[int, dict]:
    """How many times larger than its input the student's image is, and what an SPF unit must know of the refiner.

    Args:
        student (Module): Maps images to restored ones.
        refiner (Module): Of :func:`build_refiner`.
        entry (str, optional): As for :func:`probe_network`.

    Raises:
        ValueError: One of them does not qualify, or the refiner takes no images of the student's channels.
    """
    restores, refines = probe_network(student), probe_network(refiner, entry)
    if restores.image_channels != refines.image_channels:
        raise ValueError(
            f'the student makes images of {restores.image_channels} channels and spd.refiner takes '
            f'{refines.image_channels}'
        )
    keys = ('image_channels', 'entry', 'entry_channels', 'entry_stride')
    return restores.scale, {key: getattr(refines, key) for key in keys}


def _run(network, reached):
    """Runs the network in eval mode on a colour or else a gray image, and leaves its mode as it was."""
    modes = {module: module.training for module in network.modules()}
    weight = next(network.parameters())
    failures = []
    try:
        sides = (side * getattr(network, 'reduction', 1) for side in SIDES)
        for side, channels in itertools.product(sides, (3, 1)):
            reached.clear()  # of what a run that failed reached
            with torch.no_grad():
                try:
                    output = network.eval()(weight.new_zeros(1, channels, side, side))
                except REFUSALS as error:
                    failures.append(f'{channels} channels of {side}x{side}: {error}')
                    continue
            if isinstance(output, Tensor):
                return channels, side, output
            failures.append(f'{channels} channels of {side}x{side}: gave {type(output).__name__} instead of one image')
    finally:
        for module, training in modes.items():
            module.training = training
    raise ValueError(
        f'model.generator, {type(network).__name__}, does not take one image and give one, so it cannot be distilled. '
        f'Tried: {"; ".join(failures)}'
    )


def _submodule(network, name):
    try:
        return network.get_submodule(name)
    except AttributeError as error:
        raise ValueError(
            f'spd.spf.entry={name!r} is no submodule of {type(network).__name__}; its first ones are '
            f'{[name for name, _ in network.named_children()][:6]}'
        ) from error


class FrozenBatchNorm(nn.Module):
    """Batch norm in eval mode, which mmengine's ``sync_bn`` leaves alone; torchvision's has other keys."""

    def forward(self, x: Tensor) -> Tensor:
        """As ``nn.BatchNorm2d`` in eval mode, with statistics of the training or, where it keeps none, of ``x``."""
        batch = self.running_mean is None
        return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, batch, 0.0, self.eps)


def frozen_copy(network: nn.Module) -> nn.Module:
    """Copies a network whose weights become buffers: saved with the model, and in no optimizer and no gradient.

    Averaging of weights (EMA) copies buffers, so that the copy stays what it is.

    Args:
        network (Module): Left as it is.

    Returns:
        Module: In eval mode; its state dict has the same keys.
    """
    copy = deepcopy(network).eval()
    for module in copy.modules():
        if isinstance(module, _BatchNorm):
            module.__class__ = FrozenBatchNorm
        for name, weight in list(module._parameters.items()):
            if weight is not None:
                del module._parameters[name]
                module.register_buffer(name, weight.detach())
    return copy


def same_architecture(network: nn.Module, other: nn.Module) -> bool:
    """Whether the weights of one fit the other: of the same names and shapes, in modules of the same kind."""
    shapes, others = ({name: weight.shape for name, weight in one.state_dict().items()} for one in (network, other))
    return type(network) is type(other) and shapes == others


@torch.no_grad()
def blend(network: nn.Module, first: nn.Module, share: float) -> None:
    """Gives a network the weighted mean of its own weights and another's; whole numbers stay its own.

    Args:
        network (Module): Changed in place.
        first (Module): Of the same state dict.
        share (float): Of the network's own weights in the mean, in [0, 1].
    """
    others = first.state_dict()
    for name, weight in network.state_dict().items():
        if weight.is_floating_point():
            weight.copy_(torch.lerp(others[name].to(weight), weight, share))


def load_generator(network: nn.Module, weights: Dict[str, Tensor], source: str, owner: str):
    """Gives a network its weights, in place.

    Args:
        network (Module): What takes them.
        weights (dict[str, Tensor]): A state dict with ``generator.*``; see
            :func:`mmsampriors.checkpoints.generator_weights`.
        source (str): What they come from, for errors.
        owner (str): What the network is, for errors.

    Raises:
        ValueError: They do not fit.
    """
    own = {key[len(GENERATOR) :]: value for key, value in weights.items() if key.startswith(GENERATOR)}
    wanted = network.state_dict()
    shapes = [key for key in wanted if key in own and not alike(own[key], wanted[key])]
    counts = dict(missing=wanted.keys() - own.keys(), unknown=own.keys() - wanted.keys(), shapes=shapes)
    if any(counts.values()):
        first = ''.join(
            f' (first: {key} {tuple(own[key].shape)}, not {tuple(wanted[key].shape)})' for key in shapes[:1]
        )
        raise ValueError(
            f'{source} does not fit {owner} {type(network).__name__}: {len(counts["missing"])} of its {len(wanted)} '
            f'weights are missing, {len(counts["unknown"])} are unknown to it and {len(shapes)} have another shape or '
            f'kind of number{first}. The first keys of the file are {first_keys(own)}; '
            f'expected are {first_keys(wanted)}'
        )
    network.load_state_dict(own)


def alike(weight: Tensor, other: Tensor) -> bool:
    """Whether two weights have one shape, and both are floating point numbers or both are none.

    PyTorch would load whole numbers, such as those of a quantized file, without a word.
    """
    return weight.shape == other.shape and weight.is_floating_point() == other.is_floating_point()


def first_keys(weights: Dict[str, Tensor]) -> str:
    """The first three names of a state dict with their shapes, for errors."""
    shown = list(weights.items())[:3]
    return ', '.join(f'{key} {tuple(value.shape)}{whole_numbers(value)}' for key, value in shown) or 'none'


def whole_numbers(weight: Tensor) -> str:
    """' of int8' and the like; nothing for the floating point numbers that weights usually are."""
    return '' if weight.is_floating_point() else f' of {str(weight.dtype).removeprefix("torch.")}'


def unwrapped(model: nn.Module) -> nn.Module:
    """The model that a wrapper, such as MMDistributedDataParallel, holds; the model itself where there is none."""
    return model.module if is_model_wrapper(model) else model

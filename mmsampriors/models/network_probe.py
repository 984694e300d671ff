"""What can be learnt of a restoration network by running it once on a small image."""

import itertools
from dataclasses import dataclass
from typing import Optional

import torch
from torch import Tensor, nn

SIDES = (32, 128)  # of the image, in pixels: the second for networks that take none as small as the first
REFUSALS = (RuntimeError, ValueError, TypeError, IndexError, KeyError, AttributeError, AssertionError)


@dataclass(frozen=True)
class NetworkProbe:
    """A network that maps an image to an image of the same size.

    Args:
        image_channels (int): Channels of the image, 3 or 1.
        entry (str, optional): Name of the submodule that makes the first feature map at the image's resolution; None
            where the first convolution makes a smaller one.
        entry_channels (int): Channels of that feature map.
    """

    image_channels: int
    entry: Optional[str]
    entry_channels: int


def probe_network(network: nn.Module, entry: Optional[str] = None) -> NetworkProbe:
    """Runs the network on an image of 32 by 32 pixels, or of 128 by 128 where it fails on that.

    Args:
        network (nn.Module): The student or the refiner.
        entry (str, optional): Name of the submodule to take as the entry. Defaults to None: the first convolution
            that is run.

    Raises:
        ValueError: The network changes the size of the image or takes no image, or ``entry`` names no submodule or one
            that makes no feature map at the image's resolution.
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
    if output.shape[1:] != (channels, side, side):
        raise ValueError(
            f'{type(network).__name__} maps an image of {channels}x{side}x{side} to '
            f'{"x".join(map(str, output.shape[1:]))}. SPD needs a network that restores an image at its '
            'own size: super-resolution and the like do not qualify'
        )
    module, _, feature = reached[0] if reached else (None, None, None)
    if isinstance(feature, Tensor) and feature.ndim == 4 and min(feature.shape[2:]) >= side:
        name = next(name for name, other in network.named_modules() if other is module)
        return NetworkProbe(channels, name, feature.shape[1])
    if entry is None:
        return NetworkProbe(channels, None, 0)
    found = tuple(feature.shape) if isinstance(feature, Tensor) else type(feature).__name__
    raise ValueError(
        f'spd.spf.entry={entry!r} of {type(network).__name__} makes no feature map at the resolution of '
        f"the image (found {found}): name one that does, or set spd.spf.inject='image'"
    )


def _run(network, reached):
    """Runs the network in eval mode on a colour or else a gray image, and leaves its mode as it was."""
    modes = {module: module.training for module in network.modules()}
    weight = next(network.parameters())
    failures = []
    try:
        for side, channels in itertools.product(SIDES, (3, 1)):
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
        f'{type(network).__name__} does not take one image and give one, so it cannot be distilled. '
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

"""What can be learnt of a restoration network by running it once on a small image."""
from dataclasses import dataclass
from typing import Optional

import torch
from torch import nn

SIDE = 32


@dataclass(frozen=True)
class NetworkProbe:
    """A network that maps an image to an image of the same size.

    Args:
        image_channels (int): Channels of the image, 3 or 1.
        entry (str): Name of the submodule that makes the first feature map at the image's resolution.
        entry_channels (int): Channels of that feature map.
    """

    image_channels: int
    entry: str
    entry_channels: int


def probe_network(network: nn.Module, entry: Optional[str] = None) -> NetworkProbe:
    """Runs the network on an image of 32 by 32 pixels.

    Args:
        network (nn.Module): The refiner.
        entry (str, optional): Name of the submodule to take as the entry. Defaults to None: the first convolution
            that is run.

    Raises:
        ValueError: The network changes the size of the image or takes no image, ``entry`` names no submodule, or the
            entry makes no feature map at the image's resolution.
    """
    first = _find_convolution(network) if entry is None else _submodule(network, entry)
    seen = []
    handle = first.register_forward_hook(lambda module, inputs, output: seen.append(output))
    try:
        channels, output = _run(network)
    finally:
        handle.remove()
    if output.shape[1:] != (channels, SIDE, SIDE):
        raise ValueError(f'{type(network).__name__} maps an image of {channels}x{SIDE}x{SIDE} to '
                         f'{"x".join(map(str, output.shape[1:]))}. SPD needs a network that restores an image at its '
                         'own size: super-resolution and the like do not qualify')
    name = next(name for name, module in network.named_modules() if module is first)
    feature = seen[0] if seen else None
    if feature is None or feature.ndim != 4 or min(feature.shape[2:]) < SIDE:
        shape = None if feature is None else tuple(feature.shape)
        raise ValueError(f'{name} of {type(network).__name__} makes no feature map at the resolution of the image '
                         f'(found {shape}): name one that does in spd.spf.entry, or set spd.spf.inject=\'image\'')
    return NetworkProbe(channels, name, feature.shape[1])


def _run(network):
    """Runs the network in eval mode on a colour or else a gray image, and leaves its mode as it was."""
    modes = {module: module.training for module in network.modules()}
    weight = next(network.parameters())
    failures = []
    try:
        for channels in (3, 1):
            with torch.no_grad():
                try:
                    output = network.eval()(weight.new_zeros(1, channels, SIDE, SIDE))
                except (RuntimeError, ValueError, TypeError, IndexError, AttributeError) as error:
                    failures.append(f'{channels} channels: {error}')
                    continue
            if isinstance(output, torch.Tensor):
                return channels, output
            failures.append(f'{channels} channels: gave {type(output).__name__} instead of one image')
    finally:
        for module, training in modes.items():
            module.training = training
    raise ValueError(f'{type(network).__name__} does not take one image and give one, so it cannot be distilled. '
                     f'Tried: {"; ".join(failures)}')


def _submodule(network, name):
    try:
        return network.get_submodule(name)
    except AttributeError as error:
        raise ValueError(f'spd.spf.entry={name!r} is no submodule of {type(network).__name__}; its first ones are '
                         f'{[name for name, _ in network.named_children()][:6]}') from error


def _find_convolution(network):
    """The first convolution that a run of the network reaches."""
    reached = []
    convolutions = [module for module in network.modules() if isinstance(module, nn.Conv2d)]
    handles = [module.register_forward_pre_hook(lambda module, _: reached.append(module)) for module in convolutions]
    try:
        _run(network)
    finally:
        for handle in handles:
            handle.remove()
    if not reached:
        raise ValueError(f'{type(network).__name__} runs no 2-D convolution: name the submodule that makes its first '
                         "feature map in spd.spf.entry, or set spd.spf.inject='image'")
    return reached[0]

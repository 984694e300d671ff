"""Frozen networks without their batch normalizations."""

from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval


def fold_norms(network: nn.Module) -> nn.Module:
    """Writes each batch normalization that follows a convolution into that convolution's weights.

    In a frozen network a normalization is a factor and an offset. As a layer of its own it reads and writes each
    feature map once more, and keeps a copy for the gradient. Activations of timm's ``BatchNormAct2d`` stay.

    Args:
        network (nn.Module): In eval mode; changed in place. Its modules run in the order in which they are listed.

    Returns:
        nn.Module: The same network, whose features differ by rounding.
    """
    before = None
    for name, module in list(network.named_children()):
        if isinstance(module, nn.BatchNorm2d) and isinstance(before, nn.Conv2d):
            folded = fuse_conv_bn_eval(before, module)
            before.weight, before.bias = folded.weight, folded.bias
            setattr(network, name, getattr(module, 'act', nn.Identity()))
        else:
            fold_norms(module)
        before = module
    return network

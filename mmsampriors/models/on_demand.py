"""Frozen tools of training: built on first use, and no part of the model."""

import torch
from torch import nn

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

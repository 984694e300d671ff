"""Where SPF's features enter the refiner."""

from contextlib import contextmanager
from typing import Optional

import torch.nn.functional as F
from torch import Tensor, nn


class FeatureEntry:
    """Adds features to what a module puts out, by one forward hook that stays for good.

    ``torch.compile`` guards the hooks of a module: a new hook at each call would be a new compilation at each call.

    Args:
        module (nn.Module): Makes feature maps, (N, C, H, W). Padded networks make them larger than the features.

    Attributes:
        features (Tensor, optional): What the hook adds at the moment.
    """

    def __init__(self, module: nn.Module):
        self.features: Optional[Tensor] = None
        module.register_forward_hook(self._add)

    def _add(self, module, inputs, output):
        if self.features is None:
            return output
        # Networks pad at the bottom and the right, so zeros do.
        missing = [wide - narrow for wide, narrow in zip(output.shape[2:], self.features.shape[2:])]
        return output + F.pad(self.features, (0, missing[1], 0, missing[0]))

    @contextmanager
    def adding(self, features: Tensor):
        """Adds (N, C, h, w) in the body."""
        self.features = features
        try:
            yield
        finally:
            self.features = None

"""How much memory the run of a network holds at its peak."""

import weakref

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten

#: What operations need beside their results, such as unfolded inputs of convolutions. [ours]
WORKSPACE = 1.3


class LiveBytes(TorchDispatchMode):
    """Counts the bytes of the tensors that are alive, on any device, while it is entered.

    Attributes:
        peak (int): Most bytes at once, of what was made meanwhile.
    """

    def __init__(self):
        super().__init__()
        self.peak, self._now, self._holders = 0, 0, {}

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        results = func(*args, **(kwargs or {}))
        for result in tree_flatten(results)[0]:
            if isinstance(result, Tensor):
                self._see(result)
        return results

    def _see(self, tensor):
        storage = tensor.untyped_storage()
        key, size = storage.data_ptr(), storage.nbytes()
        if key not in self._holders:
            self._holders[key] = 0
            self._now += size
            self.peak = max(self.peak, self._now)
        self._holders[key] += 1
        weakref.finalize(tensor, self._drop, key, size)

    def _drop(self, key, size):
        self._holders[key] -= 1
        if not self._holders[key]:
            del self._holders[key]
            self._now -= size


@torch.no_grad()
def bytes_per_pixel(network: nn.Module, channels: int, side: int = 128) -> float:
    """What a network needs for each pixel of its image, measured on an empty one.

    Args:
        network (nn.Module): Restores (N, C, H, W).
        channels (int): C.
        side (int): Height and width of the image.
    """
    weight = next(network.parameters())
    image = torch.zeros(1, channels, side, side, device=weight.device)
    if weight.device.type == 'cuda':
        torch.cuda.reset_peak_memory_stats(weight.device)
        before = torch.cuda.memory_allocated(weight.device)
        network(image)
        used = torch.cuda.max_memory_allocated(weight.device) - before
    else:
        with LiveBytes() as live:
            network(image)
        used = live.peak
    return WORKSPACE * (used + image.nbytes) / side**2

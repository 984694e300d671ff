"""How many images are segmented at once: what is asked for, or what the device's free memory allows."""

from contextlib import contextmanager
from typing import Iterator, Optional

import torch

MOST = 16
#: Of the free memory; the rest is for what varies from image to image.
SHARE = 0.5


class BatchSize:
    """Images in a batch.

    Without a fixed count the first batch is one image, whose memory is measured, and the next are as many as fit. On
    the CPU more than one at a time gains nothing, so it stays one.

    Args:
        fixed (int, optional): The count.
        device (torch.device): Where images are segmented.
    """

    def __init__(self, fixed: Optional[int], device):
        self.count, self.device = fixed or 1, torch.device(device)
        self._open = fixed is None and self.device.type == 'cuda'

    @contextmanager
    def measured(self, images: int) -> Iterator[None]:
        """Around the work on a batch of ``images``."""
        if not self._open:
            yield
            return
        before = torch.cuda.memory_allocated(self.device)
        torch.cuda.reset_peak_memory_stats(self.device)
        yield
        peak = torch.cuda.max_memory_allocated(self.device) - before
        free = torch.cuda.mem_get_info(self.device)[0]
        free += torch.cuda.memory_reserved(self.device) - torch.cuda.memory_allocated(self.device)
        self.count, self._open = fitting(peak / images, free), False


def fitting(bytes_each: float, free: int) -> int:
    """How many images of ``bytes_each`` take at most half of the ``free`` bytes: from 1 to :data:`MOST`."""
    return max(1, min(MOST, int(SHARE * free / max(bytes_each, 1))))

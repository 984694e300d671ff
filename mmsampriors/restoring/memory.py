"""How much memory there is, and how large a tile fits into it."""

from pathlib import Path
from typing import Optional, Tuple

import psutil

from .tiles import GRID, SMALLEST_TILE

#: A network on the CPU is not faster with larger tiles, so it gets no more than this [ours]: tiles of 320 pixels for
#: a NAFNet of width 32. The measurement is in docs/restoring.md.
MOST_ON_CPU = 128 * 2**20
#: Of the free memory, the share that a tile may take: others take some, too, and estimates are no promises. [ours]
SHARE = 0.5
LARGEST_TILE = 4096  # in pixels a side
CGROUP = Path('/sys/fs/cgroup')


def free_on_cpu() -> int:
    """Bytes that this process can still get: of the machine, or of the container that it runs in."""
    free = psutil.virtual_memory().available
    limit, used = (_number(CGROUP / name) for name in ('memory.max', 'memory.current'))
    if limit is not None and used is not None:
        free = min(free, max(0, limit - used))
    return free


def _number(path) -> Optional[int]:
    try:
        return int(path.read_text())
    except (OSError, ValueError):  # no such control group, or 'max': no limit
        return None


def tile_for(size: Tuple[int, int], bytes_per_pixel: float, free: int, most: Optional[int] = None) -> int:
    """The side of the tiles for an image; its longer side where the whole fits.

    Args:
        size (tuple[int]): Height and width of the image.
        bytes_per_pixel (float): What the network needs for a pixel of its image.
        free (int): Bytes that are free.
        most (int, optional): Bytes that a tile gets at most.
    """
    budget = free * SHARE if most is None else min(free * SHARE, most)
    pixels = budget / bytes_per_pixel
    if size[0] * size[1] <= pixels:
        return max(size)
    return int(min(LARGEST_TILE, max(SMALLEST_TILE, pixels**0.5 // GRID * GRID)))


def is_out_of_memory(error: Exception) -> bool:
    """Whether an error of PyTorch, ONNX Runtime or numpy says that memory ran out."""
    if isinstance(error, MemoryError) or type(error).__name__ == 'OutOfMemoryError':
        return True
    text = str(error).lower()
    signs = ('out of memory', "can't allocate memory", 'failed to allocate memory', 'bad allocation', 'bad_alloc')
    return any(sign in text for sign in signs)

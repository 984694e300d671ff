"""Images of any size in bounded memory: overlapping tiles that fade into each other.

Knows arrays only, and nothing of what restores a tile.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, List, Optional, Tuple

import numpy as np

from mmsampriors.images import to_type

#: Tiles begin at multiples of this, so that windows and strides of networks lie as they lie in the whole image.
GRID = 16
SMALLEST_TILE = 64


class OutOfMemoryError(MemoryError):
    """Not even the smallest tile fits."""


@dataclass(frozen=True)
class Span:
    """One tile along one axis.

    Args:
        start (int): First pixel of the image.
        stop (int): One behind the last.
        weights (np.ndarray): Of each pixel of the restored tile, float32: with the other tiles' they add up to one.
    """

    start: int
    stop: int
    weights: np.ndarray


def spans_of(length: int, tile: int, overlap: int, scale: int = 1) -> List[Span]:
    """Cuts an axis into tiles that overlap, evenly.

    Args:
        length (int): Pixels of the axis.
        tile (int): Pixels of a tile; the last may have a few less, so that all begin on ``GRID``.
        overlap (int): Least number of pixels that neighbours share, up to half a tile. The outer quarter of what they
            share on each side counts for nothing: there a network sees the least around a pixel. Between them one
            fades into the other.
        scale (int): How many times larger a restored tile is.
    """
    if tile >= length:
        return [Span(0, length, np.ones(scale * length, np.float32))]
    # In steps of GRID: rounded after dividing, two tiles could begin further apart than the overlap allows.
    last, step = -(-(length - tile) // GRID), (tile - min(overlap, tile // 2)) // GRID
    count = -(-last // step)
    starts = [index * last // count * GRID for index in range(count + 1)]
    stops = [start + tile for start in starts[:-1]] + [length]
    raw = [np.ones(scale * (stop - start), np.float32) for start, stop in zip(starts, stops)]
    for index in range(1, count + 1):
        shared = scale * (stops[index - 1] - starts[index])
        if shared > 0:
            fade = _fade(shared)
            raw[index][:shared] *= fade
            raw[index - 1][len(raw[index - 1]) - shared :] *= 1 - fade
    total = np.zeros(scale * length, np.float32)
    parts = [slice(scale * start, scale * stop) for start, stop in zip(starts, stops)]
    for part, weights in zip(parts, raw):
        total[part] += weights
    raw = [weights / total[part] for part, weights in zip(parts, raw)]
    return [Span(start, stop, weights) for start, stop, weights in zip(starts, stops, raw)]


def _fade(shared):
    """From 0 to 1 over the inner half of what two tiles share, without a kink."""
    position = (np.arange(shared, dtype=np.float32) + 0.5) / shared
    position = np.clip(2 * position - 0.5, 0, 1)
    return position * position * (3 - 2 * position)


def run_in_tiles(
    run: Callable[[np.ndarray], np.ndarray],
    pixels: np.ndarray,
    tile: int,
    overlap: int,
    progress: Optional[Callable[[float], None]] = None,
    scale: int = 1,
) -> np.ndarray:
    """Restores an image tile by tile.

    One row of tiles is kept as floats; the rest of the result has the image's own type.

    Args:
        run (callable): Restores (h, w, C) of the image's type, and gives it ``scale`` times as large, in [0, 1],
            float32.
        pixels (np.ndarray): (H, W, C), uint8, uint16 or float32.
        tile (int): Longest side of a tile.
        overlap (int): Pixels that neighbouring tiles share at least.
        progress (callable, optional): Called after each tile with the share of the image that it was.
        scale (int): How many times larger the result is.

    Returns:
        np.ndarray: (scale * H, scale * W, C), of the image's type.
    """
    height, width, channels = pixels.shape
    rows, columns = (spans_of(length, tile, overlap, scale) for length in (height, width))
    restored = np.empty((scale * height, scale * width, channels), pixels.dtype)
    band = np.zeros((scale * rows[0].stop, scale * width, channels), np.float32)
    for index, row in enumerate(rows):
        for column in columns:
            made = run(pixels[row.start : row.stop, column.start : column.stop])
            made *= row.weights[:, None, None]
            made *= column.weights[None, :, None]
            band[: len(made), scale * column.start : scale * column.stop] += made
            if progress is not None:
                progress(1 / (len(rows) * len(columns)))
        following = rows[index + 1] if index + 1 < len(rows) else Span(height, height, row.weights)
        finished = scale * (following.start - row.start)
        restored[scale * row.start : scale * following.start] = to_type(band[:finished], pixels.dtype)
        rest = band[finished:]
        band = np.zeros((scale * (following.stop - following.start), *band.shape[1:]), np.float32)
        band[: len(rest)] = rest
    return restored


def halved(tile: int) -> int:
    """The next smaller tile to try where memory ran out.

    Raises:
        OutOfMemoryError: There is none.
    """
    if tile <= SMALLEST_TILE:
        raise OutOfMemoryError(
            f'not even tiles of {tile} pixels fit into memory: free some, or take another --device or a smaller network'
        )
    return max(SMALLEST_TILE, tile // 2 // GRID * GRID)


#: A network on the CPU is not faster with larger tiles, so it gets no more than this [ours]: tiles of 320 pixels for
#: a NAFNet of width 32. The measurement is in docs/restoring.md.
MOST_ON_CPU = 128 * 2**20
#: Of the free memory, the share that a tile may take: others take some, too, and estimates are no promises. [ours]
SHARE = 0.5
LARGEST_TILE = 4096  # in pixels a side
CGROUP = Path('/sys/fs/cgroup')


def free_on_cpu() -> int:
    """Bytes that this process can still get: of the machine, or of the container that it runs in."""
    free = _available()
    limit, used = (_number(CGROUP / name) for name in ('memory.max', 'memory.current'))
    if limit is not None and used is not None:
        free = min(free, max(0, limit - used))
    return free


def _available() -> int:
    try:
        import psutil
    except ModuleNotFoundError:  # ONNX students need onnxruntime, numpy and Pillow, and nothing else
        return os.sysconf('SC_AVPHYS_PAGES') * os.sysconf('SC_PAGE_SIZE')
    return psutil.virtual_memory().available


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

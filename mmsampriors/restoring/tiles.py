"""Images of any size in bounded memory: overlapping tiles that fade into each other.

Knows arrays only, and nothing of what restores a tile.
"""

from dataclasses import dataclass
from typing import Callable, List, Optional

import numpy as np

#: Tiles begin at multiples of this, so that windows and strides of networks lie as they lie in the whole image.
GRID = 16
SMALLEST_TILE = 64


class OutOfMemoryError(MemoryError):
    """Not even the smallest tile fits."""


@dataclass(frozen=True)
class Span:
    """One tile along one axis.

    Args:
        start (int): First pixel.
        stop (int): One behind the last.
        weights (np.ndarray): (stop - start,), float32: with the other tiles' they add up to one at each pixel.
    """

    start: int
    stop: int
    weights: np.ndarray


def spans_of(length: int, tile: int, overlap: int) -> List[Span]:
    """Cuts an axis into tiles that overlap, evenly.

    Args:
        length (int): Pixels of the axis.
        tile (int): Pixels of a tile; a few more where that keeps all of them on ``GRID``.
        overlap (int): Least number of pixels that neighbours share. The outer quarter of what they share on each side
            counts for nothing: there a network sees the least around a pixel. Between them one fades into the other.
    """
    if tile >= length:
        return [Span(0, length, np.ones(length, np.float32))]
    overlap = min(overlap, tile // 2)
    count = -(-(length - overlap) // (tile - overlap))
    last = length - tile
    starts = [index * last // (count - 1) // GRID * GRID for index in range(count)]
    stops = [start + tile for start in starts[:-1]] + [length]
    raw = [np.ones(stop - start, np.float32) for start, stop in zip(starts, stops)]
    for index in range(1, count):
        shared = stops[index - 1] - starts[index]
        if shared > 0:
            fade = _fade(shared)
            raw[index][:shared] *= fade
            raw[index - 1][len(raw[index - 1]) - shared :] *= 1 - fade
    total = np.zeros(length, np.float32)
    for start, stop, weights in zip(starts, stops, raw):
        total[start:stop] += weights
    return [Span(start, stop, weights / total[start:stop]) for start, stop, weights in zip(starts, stops, raw)]


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
    tell: Optional[Callable[[float], None]] = None,
) -> np.ndarray:
    """Restores an image tile by tile.

    One row of tiles is kept as floats; the rest of the result has the image's own type.

    Args:
        run (callable): Restores (h, w, C) of the image's type, and gives (h, w, C) in [0, 1], float32.
        pixels (np.ndarray): (H, W, C), uint8, uint16 or float32.
        tile (int): Longest side of a tile.
        overlap (int): Pixels that neighbouring tiles share at least.
        tell (callable, optional): Called after each tile with the share of the image that it was.

    Returns:
        np.ndarray: (H, W, C), of the image's type.
    """
    height, width, channels = pixels.shape
    rows, columns = spans_of(height, tile, overlap), spans_of(width, tile, overlap)
    restored = np.empty_like(pixels)
    band = np.zeros((rows[0].stop, width, channels), np.float32)
    for index, row in enumerate(rows):
        for column in columns:
            made = run(pixels[row.start : row.stop, column.start : column.stop])
            made *= row.weights[:, None, None]
            made *= column.weights[None, :, None]
            band[: row.stop - row.start, column.start : column.stop] += made
            if tell is not None:
                tell(1 / (len(rows) * len(columns)))
        following = rows[index + 1] if index + 1 < len(rows) else Span(height, height, row.weights)
        finished = following.start - row.start
        restored[row.start : following.start] = to_type(band[:finished], pixels.dtype)
        rest = band[finished:]
        band = np.zeros((following.stop - following.start, width, channels), np.float32)
        band[: len(rest)] = rest
    return restored


def to_type(values: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Values in [0, 1] as an image of a type: rounded, and cut off where they are outside."""
    values = np.clip(values, 0, 1)
    if dtype.kind == 'f':
        return values.astype(dtype)
    return np.rint(values * np.iinfo(dtype).max).astype(dtype)


def to_unit(pixels: np.ndarray) -> np.ndarray:
    """An image of any type in [0, 1], float32."""
    if pixels.dtype.kind == 'f':
        return pixels.astype(np.float32)
    return pixels.astype(np.float32) / np.iinfo(pixels.dtype).max


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

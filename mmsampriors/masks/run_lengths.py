"""Masks as runs: pure functions on numpy arrays, and drawing them on a device.

The masks of an image split it into *cells*: a cell is the set of pixels that are covered by the same masks. Read row by
row, the image is a sequence of *runs* of pixels of one cell. Every row starts a run. Two arrays hold that sequence,
``columns`` (where in its row a run starts) and ``cells`` (the cell that it belongs to), and a third the masks that
cover each cell, ``members``. Overlaps cost nothing, cropping touches runs and not pixels, and 64 masks on 481 x 321
pixels have some ten thousand runs where they have ten million mask pixels. [ours]

A batch travels to the device as one buffer, pinned where the device is a GPU, and nothing is asked back, so the host
need not wait. The number of operations on the device does not depend on the number of images.
"""

from functools import partial
from typing import Callable, Sequence, Tuple

import numpy as np
import torch
from torch import Tensor

MAX_WIDTH = 2**16 - 1


def runs_of_masks(masks: np.ndarray) -> tuple:
    """Runs, cells and the masks that cover them.

    Args:
        masks (ndarray): (K, H, W), bool.

    Returns:
        tuple: ``columns`` (n,), uint16; ``cells`` (n,), the smallest unsigned type that fits; ``members`` (cells, B),
        uint8, the masks of each cell as bits, first mask in the highest bit, B at least 1.
    """
    bits = np.zeros((-(-len(masks) // 8) or 1, *masks.shape[1:]), np.uint8)
    for index, mask in enumerate(masks.view(np.uint8)):  # np.packbits takes ten times as long along this axis
        bits[index // 8] |= mask << (7 - index % 8)
    starts = _starts((bits[:, :, 1:] != bits[:, :, :-1]).any(0))
    members, cells = _distinct(bits.reshape(len(bits), -1)[:, starts].T)
    return (starts % masks.shape[2]).astype(np.uint16), narrow(cells), members


def runs_of_map(values: np.ndarray) -> tuple:
    """Runs of equal values.

    Args:
        values (ndarray): (H, W), integers.

    Returns:
        tuple: ``columns`` (n,), uint16, and the value of each run, (n,).
    """
    starts = _starts(values[:, 1:] != values[:, :-1])
    return (starts % values.shape[1]).astype(np.uint16), values.reshape(-1)[starts]


def crop_runs(columns: np.ndarray, cells: np.ndarray, height: int, window: tuple) -> tuple:
    """The runs inside a window.

    Args:
        columns, cells (ndarray): (n,), as in :func:`runs_of_masks`.
        height (int): Rows of the image.
        window (tuple): top, left, height and width in pixels, inside the image.

    Returns:
        tuple: ``columns`` and ``cells`` of the window, and the lengths of its runs in pixels, (m,), uint16.
    """
    top, left, rows, width = window
    first = np.flatnonzero(columns == 0)
    begin, end = first[top], first[top + rows] if top + rows < height else len(columns)
    columns, cells = columns[begin:end], cells[begin:end]
    last = np.zeros_like(columns)
    last[:-1] = columns[1:]
    last -= 1  # the last run of a row wraps to 65535: it reaches any right edge
    start, stop = np.maximum(columns, left), np.minimum(last, left + width - 1)
    inside = np.flatnonzero(start <= stop)
    start = start.take(inside)
    return start - np.uint16(left), cells.take(inside), stop.take(inside) - start + np.uint16(1)


def by_area(cells: np.ndarray, lengths: np.ndarray, members: np.ndarray) -> tuple:
    """Which masks have pixels, largest area first, and their areas: two arrays of (K,), int64."""
    pixels = np.bincount(cells, weights=lengths, minlength=len(members))
    areas = (pixels @ np.unpackbits(members, axis=1).astype(np.float64)).astype(np.int64)
    order = np.argsort(-areas, kind='stable')[: np.count_nonzero(areas)]
    return order, areas[order]


def narrow(cells: np.ndarray) -> np.ndarray:
    """The same numbers in the smallest unsigned type that fits."""
    return cells.astype(np.min_scalar_type(cells.max(initial=0)))


def _starts(changes: np.ndarray) -> np.ndarray:
    """Flat positions of the first pixel of each run; ``changes`` is (H, W - 1), bool: differs from the pixel left."""
    if changes.shape[1] >= MAX_WIDTH:
        raise ValueError(f'masks of at most {MAX_WIDTH} columns can be stored as runs, found {changes.shape[1] + 1}')
    return np.flatnonzero(np.pad(changes, ((0, 0), (1, 0)), constant_values=True))


def _distinct(rows: np.ndarray) -> tuple:
    """The distinct rows of (n, B), uint8, and which of them each row is; ``np.unique(axis=0)`` takes far longer."""
    count, width = rows.shape
    words = np.zeros((count, -(-width // 8) * 8), np.uint8)
    words[:, :width] = rows
    which = np.zeros(count, np.int64)
    for word in words.view(np.uint64).T:
        _, inverse = np.unique(word, return_inverse=True)
        _, first, which = np.unique(which * count + inverse.reshape(-1), return_index=True, return_inverse=True)
        which = which.reshape(-1)
    return rows[first], which


def send_runs(batch: Sequence, device: torch.device) -> Callable[[int, int], Tensor]:
    """Sends the masks of a batch to a device, in one copy that the host does not wait for.

    Args:
        batch (Sequence[RunMasks]): Of N images.
        device (torch.device): Where they are drawn.

    Returns:
        callable: ``draw(height, width)``: the masks on images of that size, which fill them from the top left;
        (N, K, height, width), bool.
    """
    shown, members = [masks.shown for masks in batch], [masks.runs.members for masks in batch]
    runs, count = sum(len(one.cells) for one in shown), len(batch)
    shape = count, max(1, *(len(one.kept) for one in shown)), 1 + max(map(len, members))
    size = 4 * (2 * runs + 5 * count)
    buffer = torch.zeros(size + int(np.prod(shape)), dtype=torch.uint8, pin_memory=torch.device(device).type == 'cuda')
    numbers, covers = buffer.numpy()[:size].view(np.int32), buffer.numpy()[size:].reshape(shape)
    np.concatenate([one.cells for one in shown], out=numbers[:runs], casting='unsafe')
    np.concatenate([one.lengths for one in shown], out=numbers[runs : 2 * runs], casting='unsafe')
    begin = 0
    for index, masks in enumerate(batch):
        numbers[2 * runs + index :: count] = place(masks, begin)
        covers[index, : len(shown[index].kept), : len(members[index])] = bits_of(members[index], shown[index].kept).T
        begin += masks.size[0] * masks.size[1]
    sent = buffer.to(device, non_blocking=True)
    return partial(_draw, sent[:size].view(torch.int32), sent[size:].view(shape), runs, begin)


def _draw(numbers, covers, runs, pixels, height, width):
    """The masks of a batch.

    Args:
        numbers (Tensor): (2 R + 5 N,), int32: the cells of all R runs, their lengths, and what :func:`place` gives.
        covers (Tensor): (N, K, C + 1), uint8: whether a mask covers a cell, 0 or 1; the last cell is outside the image.
        runs (int): R.
        pixels (int): Of all images.
        height, width (int): Of what is drawn.
    """
    cells, lengths, places = numbers.split([runs, runs, len(numbers) - 2 * runs])
    start, down, right, rows, columns = places.long().view(5, -1, 1, 1)
    y = torch.arange(height, device=cells.device)[:, None]
    x = torch.arange(width, device=cells.device)
    inside = (y < rows) & (x < columns)
    # With its size known beforehand, nothing is asked of the device.
    cell_of_pixel = torch.repeat_interleave(cells.long(), lengths.long(), output_size=pixels)
    at = ((start + y * down + x * right) * inside).flatten()
    cell = cell_of_pixel.index_select(0, at).view_as(inside).where(inside, covers.shape[2] - 1)
    # gather on bytes: index_select takes three times as long on the CPU, on booleans four times
    drawn = covers.gather(2, cell.flatten(1)[:, None].expand(-1, covers.shape[1], -1))
    return drawn.view(torch.bool).unflatten(2, (height, width))


def place(masks, begin: int) -> Tuple[int, int, int, int, int]:
    """Where an image is among the pixels of all: its pixel (0, 0), the steps to the next row and column, and its size.

    Args:
        masks (RunMasks): Its masks, as they are shown.
        begin (int): Where its stored window begins.
    """
    (rows, columns), turned = masks.size, masks.orientation
    down, right = (1, masks.window[3]) if turned.transposed else (masks.window[3], 1)
    if turned.vertical:
        begin, down = begin + (rows - 1) * down, -down
    if turned.horizontal:
        begin, right = begin + (columns - 1) * right, -right
    return begin, down, right, rows, columns


def bits_of(members: np.ndarray, kept: np.ndarray) -> np.ndarray:
    """Which of some masks cover each cell: (cells, len(kept)), uint8, 0 or 1; the arguments are those of RunMasks."""
    return np.unpackbits(members, axis=1).take(kept, axis=1)

"""Masks as runs: pure functions on numpy arrays.

The masks of an image split it into *cells*: a cell is the set of pixels that are covered by the same masks. Read row by
row, the image is a sequence of *runs* of pixels of one cell. Every row starts a run. Two arrays hold that sequence,
``columns`` (where in its row a run starts) and ``cells`` (the cell that it belongs to), and a third the masks that
cover each cell, ``members``. Overlaps cost nothing, cropping touches runs and not pixels, and 64 masks on 481 x 321
pixels have some ten thousand runs where they have ten million mask pixels. [ours]
"""

import numpy as np

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


def mask_areas(cells: np.ndarray, lengths: np.ndarray, members: np.ndarray) -> np.ndarray:
    """Pixels of each mask, (8 B,), int64."""
    pixels = np.bincount(cells, weights=lengths, minlength=len(members))
    return (pixels @ np.unpackbits(members, axis=1).astype(np.float64)).astype(np.int64)


def by_area(cells: np.ndarray, lengths: np.ndarray, members: np.ndarray) -> tuple:
    """Which masks have pixels, largest area first, and their areas: two arrays of (K,), int64."""
    areas = mask_areas(cells, lengths, members)
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

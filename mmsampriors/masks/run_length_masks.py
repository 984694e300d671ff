"""Masks that travel: kept as runs on the host, drawn on the device where they are asked for."""

from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from .image_masks import ImageMasks, boxes_of
from .run_lengths import by_area, crop_runs, narrow, runs_of_map, runs_of_masks, send_runs


class Runs(NamedTuple):
    """The masks of a whole image, see :mod:`mmsampriors.masks.run_lengths`.

    Attributes:
        size (tuple): (H, W) in pixels.
        columns (ndarray): (n,), uint16: where in its row each run starts.
        cells (ndarray): (n,), unsigned: the cell of each run.
        members (ndarray): (cells, B), uint8, bits: the masks that cover each cell.
        scores, stability (ndarray): (K,), float32.
    """

    size: tuple
    columns: np.ndarray
    cells: np.ndarray
    members: np.ndarray
    scores: np.ndarray
    stability: np.ndarray

    def unpacked(self) -> 'Runs':
        return self


class _Orientation(NamedTuple):
    """How the stored image is shown: first transposed, then flipped."""

    transposed: bool = False
    vertical: bool = False
    horizontal: bool = False


class _Shown(NamedTuple):
    """The runs of a window (as stored), and which masks have pixels there, largest area first."""

    cells: np.ndarray
    lengths: np.ndarray
    kept: np.ndarray
    areas: np.ndarray


class RunMasks(ImageMasks):
    """:class:`ImageMasks` that cost next to nothing to crop, flip, transpose, pickle and send. [ours]

    Crops, flips and transposes are notes. Only when a mask, an area or the number of masks is first read, runs are
    unpacked, cut to the window, measured and sorted anew, and masks that vanished dropped; this happens on the host.
    What is read becomes a tensor on ``device``. Many images are drawn together by :func:`.send_runs`.

    Args:
        stored (Runs | Entry): The masks of the whole image.
        window (tuple): top, left, height and width of the part that is shown, as stored. Defaults to None: all of it.
        orientation (tuple): How it is shown, transposed, then flipped vertically, horizontally.
        device (torch.device): Where tensors are made.
    """

    #: Whether :meth:`cut` has done its work.
    is_cut = False

    def __init__(self, stored, window: tuple = None, orientation: tuple = _Orientation(), device='cpu'):
        self.stored, self.window = stored, window or (0, 0, *stored.size)
        self.orientation, self.device = _Orientation(*orientation), torch.device(device)

    @classmethod
    def from_masks(cls, masks: Tensor, scores: Tensor = None, stability: Tensor = None) -> 'RunMasks':
        """Measures, drops empty masks and sorts; the arguments are those of :meth:`ImageMasks.from_masks`."""
        return cls.pack(ImageMasks.from_masks(masks, scores, stability))

    @classmethod
    def from_label_map(cls, labels) -> 'RunMasks':
        """One mask a label.

        Args:
            labels (Tensor | ndarray): (H, W), integers; each distinct value is a region.
        """
        labels = np.asarray(labels)
        columns, values = runs_of_map(labels)
        values, cells = np.unique(values, return_inverse=True)
        members, ones = np.packbits(np.eye(len(values), dtype=bool), axis=1), np.ones(len(values), np.float32)
        return cls(Runs(labels.shape, columns, narrow(cells.reshape(-1)), members, ones, ones))

    @classmethod
    def pack(cls, masks: ImageMasks) -> 'RunMasks':
        """The runs of any masks."""
        if isinstance(masks, cls) and masks.window == (0, 0, *masks.stored.size) and not any(masks.orientation):
            return masks
        scores, stability = (measure.detach().float().cpu().numpy() for measure in (masks.scores, masks.stability))
        runs = Runs(masks.size, *runs_of_masks(masks.bitmaps.cpu().numpy()), scores, stability)
        return cls(runs, device=masks.bitmaps.device)

    def __len__(self) -> int:
        return len(self.shown.kept)

    def __repr__(self) -> str:
        return f'{type(self).__name__}({len(self)} masks on {self.size[0]}x{self.size[1]})'

    def __reduce__(self) -> tuple:
        arguments = (self.stored, self.window, tuple(self.orientation), str(self.device))
        return RunMasks, arguments, dict(shown=self.shown, is_cut=True) if self.is_cut else None

    @property
    def size(self) -> tuple:
        return self.window[:1:-1] if self.orientation.transposed else self.window[2:]

    @cached_property
    def runs(self) -> Runs:
        """The masks of the whole image."""
        return self.stored.unpacked()

    @cached_property
    def shown(self) -> _Shown:
        """What the window shows."""
        cells, lengths = crop_runs(self.runs.columns, self.runs.cells, self.runs.size[0], self.window)[1:]
        return _Shown(cells, lengths, *by_area(cells, lengths, self.runs.members))

    def cut(self) -> 'RunMasks':
        """The same masks, unpacked, cut to the window, measured and sorted.

        Workers of a loader call it last: the process that trains then has nothing of this to do.
        """
        runs = self.runs
        columns, cells, lengths = crop_runs(runs.columns, runs.cells, runs.size[0], self.window)
        stored = runs._replace(size=self.window[2:], columns=columns, cells=cells)
        masks = RunMasks(stored, None, self.orientation, self.device)
        masks.__dict__.update(shown=_Shown(cells, lengths, *by_area(cells, lengths, runs.members)), is_cut=True)
        return masks

    @cached_property
    def bitmaps(self) -> Tensor:
        return send_runs([self], self.device)(*self.size)[0, : len(self)]

    @cached_property
    def boxes(self) -> Tensor:
        return boxes_of(self.bitmaps)

    @cached_property
    def scores(self) -> Tensor:
        return torch.from_numpy(self.runs.scores[self.shown.kept]).to(self.device)

    @cached_property
    def stability(self) -> Tensor:
        return torch.from_numpy(self.runs.stability[self.shown.kept]).to(self.device)

    @cached_property
    def areas(self) -> Tensor:
        return torch.from_numpy(self.shown.areas).to(self.device)

    def to(self, device, non_blocking: bool = False) -> 'RunMasks':
        """The same masks, to be drawn on another device; ``non_blocking`` means nothing, for nothing moves yet."""
        device = torch.device(device)
        if device == self.device:
            return self
        moved = RunMasks(self.stored, self.window, self.orientation, device)
        # What is known of the masks on the host stays known.
        moved.__dict__.update({name: vars(self)[name] for name in ('runs', 'shown', 'is_cut') if name in vars(self)})
        return moved

    def flip(self, direction: str) -> 'RunMasks':
        """Mirrored: ``'horizontal'`` (columns reversed) or ``'vertical'`` (rows reversed)."""
        if direction not in ('horizontal', 'vertical'):
            raise ValueError(f"a flip is 'horizontal' or 'vertical', found {direction!r}")
        turned = self.orientation._replace(**{direction: not getattr(self.orientation, direction)})
        return RunMasks(self.stored, self.window, turned, self.device)

    def transpose(self) -> 'RunMasks':
        """Rows become columns."""
        now = self.orientation
        turned = _Orientation(not now.transposed, now.horizontal, now.vertical)
        return RunMasks(self.stored, self.window, turned, self.device)

    def crop(self, top: int, left: int, height: int, width: int) -> 'RunMasks':
        """The window of ``height`` by ``width`` pixels whose first row and column are ``top`` and ``left``."""
        rows, columns = self.size
        if not (0 <= top < top + height <= rows and 0 <= left < left + width <= columns):
            raise ValueError(
                f'a window of {height}x{width} at row {top}, column {left} is not inside masks of {rows}x{columns}'
            )
        top = rows - top - height if self.orientation.vertical else top
        left = columns - left - width if self.orientation.horizontal else left
        if self.orientation.transposed:
            top, left, height, width = left, top, width, height
        window = (self.window[0] + top, self.window[1] + left, height, width)
        return RunMasks(self.stored, window, self.orientation, self.device)

    def take(self, rows: np.ndarray, columns: np.ndarray) -> 'RunMasks':
        """The image whose pixel (i, j) is the pixel (``rows[i]``, ``columns[j]``) of this one, as in padding.

        Every pixel is handled; where a window is meant, :meth:`crop` is far cheaper.
        """
        cells, lengths, *_ = self.shown
        cell_map = np.repeat(cells, lengths).reshape(self.window[2:])
        cell_map = cell_map.T if self.orientation.transposed else cell_map
        steps = [-1 if turned else 1 for turned in self.orientation[1:]]
        cell_map = cell_map[:: steps[0], :: steps[1]][rows][:, columns]
        starts, cells = runs_of_map(cell_map)
        stored = self.runs._replace(size=cell_map.shape, columns=starts, cells=narrow(cells))
        return RunMasks(stored, device=self.device)

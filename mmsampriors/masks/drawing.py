"""The masks of a batch, sent to the device as runs and drawn there. [ours]

One buffer travels, pinned where the device is a GPU, and nothing is asked back, so the host need not wait. The number
of operations on the device does not depend on the number of images.
"""

from typing import NamedTuple, Sequence, Tuple

import numpy as np
import torch
from torch import Tensor


class RunBatch(NamedTuple):
    """The runs of N images, see :mod:`mmsampriors.masks.run_lengths`.

    Attributes:
        numbers (Tensor): (2 R + 5 N,), int32: the cells of all R runs, their lengths, and for each image where its
            pixel (0, 0) is among all pixels, the steps to the next row and column, and its size.
        covers (Tensor): (N, K, C + 1), uint8: whether a mask covers a cell, 0 or 1; the last cell is outside the image.
        runs (int): R.
        pixels (int): Of all images.
    """

    numbers: Tensor
    covers: Tensor
    runs: int
    pixels: int

    def draw(self, height: int, width: int) -> Tensor:
        """The masks on images of ``height`` by ``width`` pixels, which fill them from the top left.

        Returns:
            Tensor: (N, K, height, width), bool.
        """
        cells, lengths, places = self.numbers.split([self.runs, self.runs, len(self.numbers) - 2 * self.runs])
        start, down, right, rows, columns = places.long().view(5, -1, 1, 1)
        y = torch.arange(height, device=cells.device)[:, None]
        x = torch.arange(width, device=cells.device)
        inside = (y < rows) & (x < columns)
        # with its size known beforehand, the result needs no word from the device
        cell_of_pixel = torch.repeat_interleave(cells.long(), lengths.long(), output_size=self.pixels)
        at = ((start + y * down + x * right) * inside).flatten()
        cell = cell_of_pixel.index_select(0, at).view_as(inside).where(inside, self.covers.shape[2] - 1)
        # gather on bytes: index_select takes three times as long on the CPU, on booleans four times
        drawn = self.covers.gather(2, cell.flatten(1)[:, None].expand(-1, self.covers.shape[1], -1))
        return drawn.view(torch.bool).unflatten(2, (height, width))


def send_runs(batch: Sequence, device: torch.device) -> RunBatch:
    """Sends the masks of a batch to a device, in one copy that the host does not wait for.

    Args:
        batch (Sequence[RunMasks]): Of N images.
        device (torch.device): Where they are drawn.
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
    return RunBatch(sent[:size].view(torch.int32), sent[size:].view(shape), runs, begin)


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

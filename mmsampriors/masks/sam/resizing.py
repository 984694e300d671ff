"""The frames of SAM: the image, the image resized to the encoder's long side, and its square padding.

SAM 2 knows two only: the image, and the image stretched to the encoder's square.
"""

from typing import Optional

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .transfer import to_device


def resized_shape(size: tuple, side: int) -> tuple:
    """(h, w) of an image of ``size`` (H, W) when its long side becomes ``side``, rounded as segment_anything rounds."""
    factor = side / max(size)
    return tuple(int(length * factor + 0.5) for length in size)


def stretches(sam: nn.Module) -> bool:
    """Whether ``sam`` takes images stretched to a square, as SAM 2 does, and not padded."""
    return getattr(sam, 'stretches', False)


def shown_shape(size: tuple, side: int, stretched: bool = False) -> tuple:
    """(h, w) that an image of ``size`` (H, W) takes of the encoder's square of ``side`` pixels."""
    return (side, side) if stretched else resized_shape(size, side)


def point_grid(points_per_side: int) -> Tensor:
    """(P * P, 2), float64, x and y in [0, 1]: the centres of P by P equal cells, row by row."""
    line = (torch.arange(points_per_side, dtype=torch.float64) + 0.5) / points_per_side
    return torch.cartesian_prod(line, line).flip(1)


def to_encoder(images: list, sam: nn.Module, side: int) -> Tensor:
    """Resizes, normalises and pads, or stretches, where the SAM wants that.

    Like PIL, which stock resizes with, padding rounds to 8 bits after each direction. SAM 2 resizes without rounding.

    Args:
        images (list[Tensor]): (3, H, W) each, float, RGB in [0, 255], of any sizes.
        sam (nn.Module): Gives mean, standard deviation and channel order.
        side (int): Long side that the images get; both sides where they are stretched.

    Returns:
        Tensor: (I, 3, side, side).
    """
    out = images[0].new_zeros(len(images), 3, side, side)
    for square, image in zip(out, images):
        height, width = shown_shape(image.shape[1:], side, stretches(sam))
        if stretches(sam):
            image = _interpolated(image, (height, width))
        else:
            image = _rounded(_interpolated(_rounded(_interpolated(image, (image.shape[1], width))), (height, width)))
        image = image.flip(0) if sam.image_format == 'BGR' else image
        square[:, :height, :width] = (image - sam.pixel_mean) / sam.pixel_std
    return out


def _interpolated(image: Tensor, size: tuple) -> Tensor:
    """(3, H, W) to another size."""
    if tuple(image.shape[1:]) == size:
        return image
    return F.interpolate(image[None], size, mode='bilinear', align_corners=False, antialias=True)[0]


def _rounded(image: Tensor) -> Tensor:
    """Whole numbers in [0, 255]; halves up, as PIL."""
    return (image + 0.5).floor().clamp(0, 255)


class LogitResizer:
    """Brings the decoder's logits to the size of the image, as ``Sam.postprocess_masks`` does.

    That interpolates twice: to the padded square, and from its valid part to the image. Both are linear in rows and
    in columns, so together they are one matrix a direction. Each is zero but for a band: on CPU it is multiplied in
    blocks along it, on other devices, where each block would be a kernel of its own, as it is.

    Where images are stretched, as in SAM 2, logits are interpolated once, to the image.

    Making one takes longer than using it for a few masks: keep it.

    Args:
        low (tuple): (h, w) of the logits.
        side (int): Side of the padded square in pixels.
        size (tuple): (H, W) of the image.
        device (torch.device): Where the logits are.
        dtype (torch.dtype): Type of the result.
        stretched (bool): Whether the square shows the stretched image.
    """

    def __init__(
        self, low: tuple, side: int, size: tuple, device, dtype: torch.dtype = torch.float32, *, stretched: bool = False
    ) -> None:
        self.size, self.dtype, device = size, dtype, torch.device(device)
        shown = (None, None) if stretched else resized_shape(size, side)
        self.rows, self.columns = (
            [
                (out, used, to_device(block.to(dtype), device))
                for out, used, block in _blocks(_interpolation(n, side, valid, length), device)
            ]
            for n, valid, length in zip(low, shown, size)
        )

    @property
    def used(self) -> tuple:
        """(h, w) of the upper left logits that it uses; the others lie in the padding."""
        return tuple(max(used.stop for _, used, _ in blocks) for blocks in (self.rows, self.columns))

    def __call__(self, logits: Tensor) -> Tensor:
        """(K, h, w), all or at least what is used, to (K, H, W)."""
        logits = logits[:, : self.used[0]].to(self.dtype)
        wide = logits.new_empty(*logits.shape[:2], self.size[1])
        for out, used, block in self.columns:
            wide[:, :, out].baddbmm_(logits[:, :, used], block.T.expand(len(logits), -1, -1), beta=0)
        full = logits.new_empty(len(logits), *self.size)
        for out, used, block in self.rows:
            full[:, out].baddbmm_(block.expand(len(logits), -1, -1), wide[:, used], beta=0)
        return full


def _interpolation(low: int, side: int, valid: Optional[int], length: int) -> Tensor:
    """(length, low), the interpolations of one direction: what they make of each unit vector.

    Without ``valid``, the pixels of the square that show the image, there is one: ``low`` to ``length``.
    """
    units = torch.eye(low, dtype=torch.float64)[None]
    if valid is not None:
        units = F.interpolate(units, side, mode='linear', align_corners=False)[..., :valid]
    return F.interpolate(units, length, mode='linear', align_corners=False)[0].T


def _blocks(matrix: Tensor, device: torch.device) -> list:
    """Blocks of rows of a (length, low) band matrix: which rows, which columns are not zero there, and what they hold.

    Blocks are about 24 columns wide, the fastest on CPU; a matrix of less than 96 is faster as one block.
    """
    used = int(matrix.any(0).sum())
    count = min(used // 24, len(matrix)) if used > 96 and device.type == 'cpu' else 1
    blocks = []
    for rows in torch.arange(len(matrix)).tensor_split(count):
        columns = matrix[rows].any(0).nonzero().flatten()
        out, used = slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)
        blocks.append((out, used, matrix[out, used]))
    return blocks

"""The three frames of SAM: the image, the image resized to the encoder's long side, and its square padding."""
import torch
from segment_anything.modeling import Sam
from torch import Tensor
from torch.nn import functional as F


def resized_shape(size: tuple, side: int) -> tuple:
    """(h, w) of an image of ``size`` (H, W) when its long side becomes ``side``, rounded as segment_anything rounds."""
    factor = side / max(size)
    return tuple(int(length * factor + 0.5) for length in size)


def point_grid(points_per_side: int) -> Tensor:
    """(P * P, 2), float64, x and y in [0, 1]: the centres of P by P equal cells, row by row."""
    line = (torch.arange(points_per_side, dtype=torch.float64) + 0.5) / points_per_side
    return torch.cartesian_prod(line, line).flip(1)


def to_encoder(images: list, sam: Sam, side: int) -> Tensor:
    """Resizes, normalises and pads. Like PIL, which stock resizes with, it rounds to 8 bits after each direction.

    Args:
        images (list[Tensor]): (3, H, W) each, float, RGB in [0, 255], of any sizes.
        sam (Sam): Gives mean, standard deviation and channel order.
        side (int): Long side that the images get.

    Returns:
        Tensor: (I, 3, side, side).
    """
    out = images[0].new_zeros(len(images), 3, side, side)
    for padded, image in zip(out, images):
        height, width = resized_shape(image.shape[1:], side)
        image = _resize(_resize(image, (image.shape[1], width)), (height, width))
        image = image.flip(0) if sam.image_format == 'BGR' else image
        padded[:, :height, :width] = (image - sam.pixel_mean) / sam.pixel_std
    return out


def _resize(image: Tensor, size: tuple) -> Tensor:
    """(3, H, W) in [0, 255] to another size, whole numbers."""
    if tuple(image.shape[1:]) != size:
        image = F.interpolate(image[None], size, mode='bilinear', align_corners=False, antialias=True)[0]
    return (image + 0.5).floor().clamp(0, 255)  # halves up, as PIL


class LogitResizer:
    """Brings the decoder's logits to the size of the image, as ``Sam.postprocess_masks`` does.

    That interpolates twice: to the padded square, and from its valid part to the image. Both are linear in rows and
    in columns, so together they are one matrix a direction. Images much larger than the logits, whose matrices would
    be mostly zeros, are interpolated, without the padding.

    Args:
        low (tuple): (h, w) of the logits.
        side (int): Side of the padded square in pixels.
        size (tuple): (H, W) of the image.
        device (torch.device): Where the logits are.
        dtype (torch.dtype): Type of the result.
    """

    #: Multiply-adds that take as long as one interpolated pixel (measured on CPU).
    PIXEL_COST = 64

    def __init__(self, low: tuple, side: int, size: tuple, device, dtype: torch.dtype = torch.float32) -> None:
        self.low, self.side, self.size = low, side, size
        self.valid = resized_shape(size, side)
        self.used = tuple(min(n, -(-valid * n // side) + 1) for n, valid in zip(low, self.valid))
        (used_rows, used_columns), (height, width) = self.used, size
        products = used_rows * width * (used_columns + height)
        pixels = self.valid[0] * self.valid[1] + height * width
        self.matrices = None
        if products <= self.PIXEL_COST * pixels:
            self.matrices = [
                _interpolation(n, side, valid, length)[:, :used].to(device, dtype)
                for n, valid, length, used in zip(low, self.valid, size, self.used)
            ]
        self.dtype = dtype

    def __call__(self, logits: Tensor) -> Tensor:
        """(K, h, w) to (K, H, W)."""
        logits = logits[:, :self.used[0], :self.used[1]].to(self.dtype)
        if self.matrices is not None:
            rows, columns = self.matrices
            return rows @ (logits @ columns.T)
        padded = tuple(used * self.side // n for used, n in zip(self.used, self.low))
        logits = F.interpolate(logits[None], padded, mode='bilinear', align_corners=False)
        logits = logits[..., :self.valid[0], :self.valid[1]]
        return F.interpolate(logits, self.size, mode='bilinear', align_corners=False)[0]


def _interpolation(low: int, side: int, valid: int, length: int) -> Tensor:
    """(length, low), both interpolations of one direction: what they make of each unit vector."""
    units = torch.eye(low, dtype=torch.float64)[None]
    square = F.interpolate(units, side, mode='linear', align_corners=False)[..., :valid]
    return F.interpolate(square, length, mode='linear', align_corners=False)[0].T

"""Small operations of the mask engine: precision, transfers, prompts, filters and resizing.

The frames of SAM are the image, the image resized to the encoder's long side, and its square padding. SAM 2 knows two
only: the image, and the image stretched to the encoder's square.
"""

from contextlib import AbstractContextManager, nullcontext
from typing import Optional, Sequence

import numpy as np
import torch
from segment_anything.modeling import PromptEncoder
from torch import Tensor, nn
from torch.nn import functional as F


def autocast_to(dtype: torch.dtype, device: torch.device) -> AbstractContextManager:
    """Autocast to a half precision; nothing at all for float32, which torch 2.1 refuses to name on the CPU."""
    return torch.autocast(device.type, dtype) if dtype.itemsize < 4 else nullcontext()


def fastest_exact_dtype(device: torch.device) -> torch.dtype:
    """bfloat16 on a GPU that computes in it (compute capability 8 or later), float32 elsewhere.

    In bfloat16 a prompt now and then passes a threshold that it fails in float32; ``agreement_with_first`` of
    ``.dev_scripts/benchmarks/mask_engine.py`` says how much masks change. It keeps float32's range, float16 does not.
    """
    half = device.type == 'cuda' and torch.cuda.get_device_capability(device)[0] >= 8
    return torch.bfloat16 if half else torch.float32


def to_host(tensor: Tensor) -> np.ndarray:
    """The values of a tensor. The host waits until the device has computed them."""
    return tensor.cpu().numpy()


def torch_device(name: Optional[str] = None) -> torch.device:
    """The device of a name, such as 'cuda:1'; by default CUDA where there is one, or else the CPU.

    Raises:
        ValueError: There is no such device on this machine.
    """
    try:
        default = 'cuda' if torch.cuda.is_available() else 'cpu'
        device = torch.device(default if name is None else name)  # 0 is a name
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, TypeError, ImportError, NotImplementedError):
        known = ['cpu', *(f'cuda:{index}' for index in range(torch.cuda.device_count()))]
        raise ValueError(f'expected a device of this machine, one of {known}, found {name!r}') from None
    return device


def to_device(values, device: torch.device) -> Tensor:
    """A tensor on ``device``, without waiting: to a GPU from pinned memory, behind the work that is queued.

    Args:
        values (Tensor | ndarray): Anywhere.
        device (torch.device): Where they are wanted.
    """
    values = torch.from_numpy(values) if isinstance(values, np.ndarray) else values
    if values.device == device or device.type != 'cuda':
        return values.to(device)
    return (values.pin_memory() if values.device.type == 'cpu' else values).to(device, non_blocking=True)


def embed_points(encoder: nn.Module, points: Tensor) -> Tensor:
    """What a prompt encoder makes of prompts of one foreground point each.

    segment_anything looks up the label of each point on the device, and waits for the answer four times. Here all
    labels are known: a foreground point, and the padding that stock adds where no box is given.

    Args:
        encoder (nn.Module): Any encoder but segment_anything's own is asked itself.
        points (Tensor): (Q, 2), x and y in pixels of the encoder's input.

    Returns:
        Tensor: (Q, 2, C).
    """
    points = points[:, None]
    if type(encoder) is not PromptEncoder:
        labels = torch.ones(len(points), 1, dtype=torch.int, device=points.device)
        return encoder(points=(points, labels), boxes=None, masks=None)[0]
    placed = encoder.pe_layer.forward_with_coords(points + 0.5, encoder.input_image_size)  # centres of pixels
    foreground, padding = encoder.point_embeddings[1].weight, encoder.not_a_point_embed.weight
    return torch.cat([placed + foreground, padding.expand(len(points), 1, -1)], 1)


def stability_scores(logits: Tensor, threshold: float, offset: float) -> Tensor:
    """IoU of the masks cut at ``threshold + offset`` and at ``threshold - offset``.

    Args:
        logits (Tensor): (K, H, W).
        threshold (float): Where masks are cut.
        offset (float): Distance of the two cuts.

    Returns:
        Tensor: (K,), float32; NaN where nothing exceeds the lower cut, as in segment_anything.
    """
    count = _count_on_host if logits.device.type == 'cpu' else _count_on_device
    return count(logits, threshold + offset) / count(logits, threshold - offset)


def cut(logits: Tensor, threshold: float, which: Optional[np.ndarray] = None) -> tuple:
    """The masks ``logits > threshold`` at one bit a pixel, and their boxes.

    Args:
        logits (Tensor): (K, H, W).
        threshold (float): Where masks are cut.
        which (ndarray, optional): (L,), the masks that are wanted; all by default.

    Returns:
        tuple[Tensor, Tensor]: (L, ceil(H * W / 8)), uint8, pixel by pixel from the lowest bit on; and (L, 4), float32,
        x0, y0, x1, y1, last row and column included, zeros for an empty mask.
    """
    if logits.device.type == 'cpu':
        return _cut_on_host(logits, threshold, range(len(logits)) if which is None else which)
    logits = logits if which is None else logits[to_device(which, logits.device)]
    return _cut_on_device(logits, threshold)


def _count_on_host(logits: Tensor, threshold: float) -> Tensor:
    """(K,), float32, pixels above ``threshold``; mask by mask, to stay in the caches: numpy counts bools fast."""
    counts = [np.count_nonzero(one > threshold) for one in logits.numpy()]
    return torch.tensor(counts, dtype=torch.float32)


def _count_on_device(logits: Tensor, threshold: float) -> Tensor:
    """The same; added as floats: exact below 2^24, and much faster than as bools."""
    return torch.gt(logits, threshold, out=torch.empty_like(logits)).sum((1, 2), dtype=torch.float32)


def _cut_on_host(logits: Tensor, threshold: float, which: Sequence) -> tuple:
    """:func:`cut`, mask by mask."""
    arrays = logits.numpy()
    packed = np.empty((len(which), -(-arrays.shape[1] * arrays.shape[2] // 8)), np.uint8)
    boxes = np.zeros((len(which), 4), np.float32)
    for i, one in enumerate(which):
        bits = arrays[one] > threshold
        packed[i] = np.packbits(bits, bitorder='little')
        columns, rows = (np.flatnonzero(bits.any(axis)) for axis in (0, 1))
        if len(rows):
            boxes[i] = columns[0], rows[0], columns[-1], rows[-1]
    return torch.from_numpy(packed), torch.from_numpy(boxes)


def _cut_on_device(logits: Tensor, threshold: float) -> tuple:
    """:func:`cut`, all masks together."""
    bits = (logits > threshold).flatten(1)
    eights = F.pad(bits, (0, -bits.shape[1] % 8)).view(torch.int64)  # of bytes that are 0 or 1, the first one lowest
    packed = (eights * 0x0102040810204080 >> 56).to(torch.uint8)  # the i-th byte comes to the i-th bit of the last byte
    left, right = _ends(logits.amax(1) > threshold)
    top, bottom = _ends(logits.amax(2) > threshold)
    return packed, torch.stack([left, top, right, bottom], 1).float()


def unpack(packed: Tensor, size: tuple) -> Tensor:
    """The masks that :func:`cut` has packed: (K, H, W), bool, for ``size`` (H, W)."""
    bits = packed[..., None] >> torch.arange(8, dtype=torch.uint8, device=packed.device) & 1
    return bits.flatten(1)[:, : size[0] * size[1]].unflatten(1, size).bool()


def _ends(marked: Tensor) -> tuple:
    """First and last marked index of each row of (K, L); zeros where none is."""
    last = marked.shape[1] - 1
    marks = marked.int()
    return marks.argmax(1), (last - marks.flip(1).argmax(1)) * marked.any(1)


def resized_shape(size: tuple, side: int) -> tuple:
    """(h, w) of an image of ``size`` (H, W) when its long side becomes ``side``, rounded as segment_anything rounds,
    and at least 1."""
    factor = side / max(size)
    return tuple(max(int(length * factor + 0.5), 1) for length in size)


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
        enlarged (int): How many times as large the decoder would have made the logits, bilinearly.
    """

    def __init__(
        self,
        low: tuple,
        side: int,
        size: tuple,
        device,
        dtype: torch.dtype = torch.float32,
        *,
        stretched: bool = False,
        enlarged: int = 1,
    ) -> None:
        self.size, self.dtype, device = size, dtype, torch.device(device)
        shown = (None, None) if stretched else resized_shape(size, side)
        self.rows, self.columns = (
            [
                (out, used, to_device(block.to(dtype), device))
                for out, used, block in _blocks(_interpolation(n, side, valid, length, enlarged), device)
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


def _interpolation(low: int, side: int, valid: Optional[int], length: int, enlarged: int) -> Tensor:
    """(length, low), the interpolations of one direction: what they make of each unit vector.

    Without ``valid``, the pixels of the square that show the image, the second of them is missing.
    """
    units = torch.eye(low, dtype=torch.float64)[None]
    units = F.interpolate(units, scale_factor=float(enlarged), mode='linear', align_corners=False)
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

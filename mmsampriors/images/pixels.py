"""Arrays of pixels: conversions between types, sizes, and PSNR; and which metrics need a ground truth."""

from typing import Iterable, List, Tuple

import numpy as np
from PIL import Image

#: Of R, G and B: how OpenCV loads a colour file as gray.
LUMA = (0.299, 0.587, 0.114)
FULL_REFERENCE = ('PSNR', 'SSIM', 'PSNR-Y', 'SSIM-Y', 'LPIPS', 'DISTS')
NO_REFERENCE = ('NIQE',)
#: A restored image that is more dB below its input has collapsed: so SAM-Deblur (Li et al., ICASSP 2024) counts.
COLLAPSE = 3.0


def to_eight_bits(pixels: np.ndarray) -> np.ndarray:
    """An image of uint8 or uint16 as uint8, rounded."""
    return (pixels // 257 + (pixels % 257 > 128)).astype(np.uint8) if pixels.dtype == np.uint16 else pixels


def to_type(values: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Values in [0, 1] as an image of a type: rounded, and cut off where they are outside."""
    values = np.asarray(np.clip(values, 0, 1))
    if dtype.kind == 'f':
        return values.astype(dtype, copy=False)
    values *= np.iinfo(dtype).max
    return np.rint(values, out=values).astype(dtype)


def to_unit(pixels: np.ndarray) -> np.ndarray:
    """An image of any type in [0, 1], float32."""
    if pixels.dtype.kind == 'f':
        return pixels.astype(np.float32)
    return pixels.astype(np.float32) / np.iinfo(pixels.dtype).max


def enlarged(pixels: np.ndarray, scale: int) -> np.ndarray:
    """An image of any type, (H, W) or (H, W, C), made ``scale`` times as large by bicubic interpolation."""
    if scale == 1:
        return pixels
    size = scale * pixels.shape[1], scale * pixels.shape[0]
    made = np.empty((size[1], size[0], *pixels.shape[2:]), pixels.dtype)
    for index in np.ndindex(pixels.shape[2:]):
        channel = Image.fromarray(to_unit(pixels[(..., *index)])).resize(size, Image.Resampling.BICUBIC)
        made[(..., *index)] = to_type(np.asarray(channel), pixels.dtype)
    return made


def split_by_reference(names: Iterable[str]) -> Tuple[List[str], List[str]]:
    """Splits names of metrics into those that are measured against something, and those without reference.

    One is how near an image is to the truth, the other how natural it looks: they do not belong into one table.

    Args:
        names (Iterable[str]): With or without a prefix, such as ``NIQE`` or ``Rain100L/NIQE``.
    """
    split = [], []
    for name in names:
        split[name.rpartition('/')[2] in NO_REFERENCE].append(name)
    return split


def psnr(image: np.ndarray, target: np.ndarray, peak: float = 255) -> float:
    """PSNR in dB over all values of two arrays; infinite where they are equal.

    Args:
        image (np.ndarray): Of any shape and type.
        target (np.ndarray): Of the same shape.
        peak (float): The value of white.
    """
    error = np.mean((np.asarray(image, np.float64) - target) ** 2)
    return float('inf') if error == 0 else float(10 * np.log10(peak**2 / error))

"""PSNR of arrays, and which metrics of images compare with ground truth. Imports numpy alone."""

from typing import Iterable, List, Tuple

import numpy as np

FULL_REFERENCE = ('PSNR', 'SSIM', 'PSNR-Y', 'SSIM-Y', 'LPIPS', 'DISTS')
NO_REFERENCE = ('NIQE',)


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

"""Photographs for the page: what people give it, within limits, and samples of scikit-image."""

from pathlib import Path
from typing import Dict

import numpy as np
import skimage.data
from PIL import Image

from mmsampriors.restoring.photographs import PhotographError, read_photograph

#: Name to the file in scikit-image's wheel; nothing is downloaded.
SAMPLES = dict(
    coffee='coffee.png',
    cat='chelsea.png',
    astronaut='astronaut.png',
    rocket='rocket.jpg',
    motorcycle='motorcycle_left.png',
)


def open_photograph(path, most_pixels: int) -> np.ndarray:
    """Reads a file of any kind that the package restores, as 8 bits RGB, upright, without alpha.

    Args:
        path (str | Path): The file.
        most_pixels (int): Larger photographs are refused before their pixels are read.

    Returns:
        np.ndarray: (H, W, 3), uint8.

    Raises:
        PhotographError: The file is no photograph, or has too many pixels. The message does not repeat the path.
    """
    try:
        with Image.open(path) as image:
            width, height = image.size
    except Image.DecompressionBombError:
        raise PhotographError(f'has far more than {most_pixels / 1e6:g} million pixels') from None
    except Exception:  # Pillow raises whatever it meets in a broken file; reading it says what is wrong.
        width = height = 0
    if width * height > most_pixels:
        raise PhotographError(
            f'has {width} by {height} pixels. This page takes {most_pixels / 1e6:g} million at most: make it smaller'
        )
    return _plain(read_photograph(path).pixels)


def _plain(pixels):
    if pixels.dtype == np.uint16:
        pixels = np.rint(pixels / 257).astype(np.uint8)
    return np.repeat(pixels[..., None], 3, axis=2) if pixels.ndim == 2 else pixels


def sample(name: str) -> np.ndarray:
    """A photograph that comes with scikit-image, (H, W, 3), uint8."""
    with Image.open(Path(skimage.data.__file__).parent / SAMPLES[name]) as image:
        return np.asarray(image.convert('RGB'))


def thumbnails(side: int) -> Dict[str, np.ndarray]:
    """All samples, cut to squares of ``side`` pixels."""
    made = {}
    for name in SAMPLES:
        pixels = sample(name)
        least = min(pixels.shape[:2])
        top, left = ((length - least) // 2 for length in pixels.shape[:2])
        square = Image.fromarray(pixels[top : top + least, left : left + least])
        made[name] = np.asarray(square.resize((side, side), Image.Resampling.LANCZOS))
    return made

"""Free images that Debian packages carry: cut-outs of things, and photographs to put them before [ours].

``apt-get install tuxpaint-stamps-default mate-backgrounds`` (both GPL 2; many of the stamps are in the public domain).
"""

from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np

STAMPS = Path('/usr/share/tuxpaint/stamps')
BACKGROUNDS = Path('/usr/share/backgrounds/mate/nature')
#: Folders of stamps that are drawn signs.
SIGNS = ('symbols',)
SMALLEST_SIDE = 80  # pixels; smaller ones would be enlarged
LARGEST_STAMP = 400  # pixels of the long side, to which cut-outs are reduced
LARGEST_BACKGROUND = 900  # pixels of the short side, to which photographs are reduced


@lru_cache(maxsize=None)
def image_files(folder: Path, pattern: str) -> tuple:
    """The images of a folder and those in it, in order, without signs.

    Raises:
        FileNotFoundError: There are none.
    """
    files = tuple(path for path in sorted(folder.rglob(pattern)) if not set(SIGNS) & set(path.parts))
    if not files:
        raise FileNotFoundError(
            f'no {pattern} in {folder}: apt-get install tuxpaint-stamps-default mate-backgrounds, '
            'or train without them: --shards pasted=0'
        )
    return files


@lru_cache(maxsize=None)
def backgrounds() -> tuple:
    """Photographs, (H, W, 3), float32 RGB in [0, 1]."""
    found = []
    for path in image_files(BACKGROUNDS, '*.jpg'):
        image = cv2.imread(str(path))
        scale = min(1, LARGEST_BACKGROUND / min(image.shape[:2]))
        image = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        found.append(cv2.cvtColor(image, cv2.COLOR_BGR2RGB).astype(np.float32) / 255)
    return tuple(found)


@lru_cache(maxsize=64)
def stamp(path: Path):
    """(H, W, 4), float32 in [0, 1], RGB and alpha, cut to what is not empty; None where it is no cut-out."""
    image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if image is None or image.ndim != 3 or image.shape[2] != 4 or image.dtype != np.uint8:
        return None
    solid = image[..., 3] > 127
    rows, columns = np.flatnonzero(solid.any(1)), np.flatnonzero(solid.any(0))
    if not len(rows):
        return None
    image = image[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    if max(image.shape[:2]) < SMALLEST_SIDE or not 0.08 < (image[..., 3] > 127).mean() < 0.97:
        return None
    scale = min(1, LARGEST_STAMP / max(image.shape[:2]))
    image = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    return cv2.cvtColor(image, cv2.COLOR_BGRA2RGBA).astype(np.float32) / 255


def drawn_stamp(rng) -> np.ndarray:
    """One of the cut-outs, as :func:`stamp` gives it."""
    files = image_files(STAMPS, '*.png')
    while (found := stamp(files[rng.integers(len(files))])) is None:
        pass
    return found

"""What one person looks at: a photograph, its damaged and its restored form."""

import time
from dataclasses import dataclass, field
from typing import Callable, Dict, Optional, Tuple

import numpy as np
from PIL import Image

from mmsampriors.restoring import Restorer

from .damage import NONE, damaged, psnr

#: Longer sides are shrunk to this for what is shown, and for SAM, which looks at 1024 pixels or less. [ours]
VIEW_SIDE = 1280
DAMAGED, RESTORED, CLEAN = 'damaged', 'restored', 'clean'


@dataclass
class Scene:
    """One photograph and what was made of it.

    Args:
        given (np.ndarray): (H, W, 3), uint8, as it was opened.
        damage (tuple[str, int], optional): Kind and severity of the damage that was added; None where the photograph
            came damaged.
        student (str): Who restored it.
        seconds (float): How long restoring took.
        images (dict[str, np.ndarray]): ``damaged``, ``restored`` and, where damage was added, ``clean``: all of the
            full size.
        views (dict[str, np.ndarray]): The same, of at most ``VIEW_SIDE`` pixels a side.
        seen (dict[str, object]): What the segmenter keeps of each view that it has seen.
    """

    given: np.ndarray
    damage: Optional[Tuple[str, int]]
    student: str
    seconds: float
    images: Dict[str, np.ndarray]
    views: Dict[str, np.ndarray]
    seen: Dict[str, object] = field(default_factory=dict)

    @property
    def psnr(self) -> Optional[Tuple[float, float]]:
        """PSNR in dB of the damaged and of the restored photograph; None where no clean one is known."""
        if CLEAN not in self.images:
            return None
        return tuple(psnr(self.images[name], self.images[CLEAN]) for name in (DAMAGED, RESTORED))


def make_scene(
    given: np.ndarray,
    kind: str,
    severity: int,
    student: str,
    restorer: Restorer,
    progress: Optional[Callable[[float], None]] = None,
) -> Scene:
    """Damages a photograph, or takes it as it is, and restores it.

    Args:
        given (np.ndarray): (H, W, 3), uint8.
        kind (str): What is added: 'none', 'rain', 'noise' or 'blur'.
        severity (int): How much of it, 1 to 10.
        student (str): The restorer's name on the page.
        restorer (Restorer): Restores it.
        progress (callable, optional): Called with the share of the photograph that is restored, 0 to 1.

    Raises:
        ValueError: The photograph is too small for that damage.
    """
    damage = None if kind == NONE else (kind, severity)
    images = {DAMAGED: given if damage is None else damaged(given, kind, severity)}
    done = 0.0

    def tell(share):
        nonlocal done
        done = min(1.0, done + share)
        if progress is not None:
            progress(done)

    start = time.perf_counter()
    restored = restorer.restore_pixels(images[DAMAGED], tell)
    seconds = time.perf_counter() - start
    images[RESTORED] = restored if restored.ndim == 3 else np.repeat(restored[..., None], 3, axis=2)
    if damage is not None:
        images[CLEAN] = given
    views = {name: shrunk(pixels, VIEW_SIDE) for name, pixels in images.items()}
    return Scene(given, damage, student, seconds, images, views)


def shrunk(pixels: np.ndarray, side: int) -> np.ndarray:
    """An image whose longer side is at most ``side`` pixels."""
    height, width = pixels.shape[:2]
    scale = side / max(height, width)
    if scale >= 1:
        return pixels
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.LANCZOS))

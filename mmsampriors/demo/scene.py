"""What the page shows: a photograph, its damage, and what a student makes of it."""

import time
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Callable, Dict, Optional, Tuple

import numpy as np
import skimage.data
from PIL import Image

from mmsampriors.data_preparation.degradations import add_blur, add_camera_noise, add_noise, add_rain
from mmsampriors.images import enlarged, psnr, read_rgb, to_eight_bits
from mmsampriors.inference.measures import MOST_MOVED, largest_move
from mmsampriors.inference.restorer import Restorer
from mmsampriors.inference.students import packaged_students

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
            full size. Where the student enlarges, what it got is enlarged by bicubic interpolation.
        views (dict[str, np.ndarray]): The same, of at most ``VIEW_SIDE`` pixels a side.
        seen (dict[str, object]): What the segmenter keeps of each view that it has seen.
        is_garbage (bool): Whether restoring moved the large shapes further than right restorations do.
    """

    given: np.ndarray
    damage: Optional[Tuple[str, int]]
    student: str
    seconds: float
    images: Dict[str, np.ndarray]
    views: Dict[str, np.ndarray]
    seen: Dict[str, object] = field(default_factory=dict)
    is_garbage: bool = False

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

    For a student that enlarges, the photograph is shrunk before it is damaged: then it is the target.

    Args:
        given (np.ndarray): (H, W, 3), uint8.
        kind (str): What is added: 'none', 'small', which only shrinks, or one of ``KINDS``.
        severity (int): How much of it, 1 to 10.
        student (str): The restorer's name on the page.
        restorer (Restorer): Restores it.
        progress (callable, optional): Called with the share of the photograph that is restored, 0 to 1.

    Raises:
        ValueError: The photograph is too small for that damage.
    """
    damage, scale, done = None if kind == NONE else (kind, severity), restorer.network.scale, 0.0
    width, height = given.shape[1] // scale, given.shape[0] // scale
    clean, seen = given[: scale * height, : scale * width], given
    if damage is not None:
        small = Image.fromarray(clean).resize((width, height), Image.Resampling.BICUBIC)
        seen = damaged(np.asarray(small), kind, severity)

    def report(share):
        nonlocal done
        done = min(1.0, done + share)
        if progress is not None:
            progress(done)

    start = time.perf_counter()
    restored = restorer.restore_pixels(seen, report)
    seconds = time.perf_counter() - start
    images = {DAMAGED: enlarged(seen, scale)}
    images[RESTORED] = restored if restored.ndim == 3 else np.repeat(restored[..., None], 3, axis=2)
    if damage is not None:
        images[CLEAN] = clean
    views = {name: shrunk(pixels, VIEW_SIDE) for name, pixels in images.items()}
    is_garbage = largest_move(seen, restored)[0] > MOST_MOVED
    return Scene(given, damage, student, seconds, images, views, is_garbage=is_garbage)


def shrunk(pixels: np.ndarray, side: int) -> np.ndarray:
    """An image whose longer side is at most ``side`` pixels."""
    height, width = pixels.shape[:2]
    scale = side / max(height, width)
    if scale >= 1:
        return pixels
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.LANCZOS))


NONE, SMALL = 'none', 'small'
KINDS = ('rain', 'noise', 'camera', 'blur')
MAKERS = dict(rain=add_rain, noise=add_noise, camera=add_camera_noise, blur=add_blur)
#: Severity is 1 to this, whole numbers. 5 is about the middle of what students are trained on. [ours]
MOST_SEVERE = 10


def settings_of(kind: str, severity: int) -> dict:
    """The settings of a maker in :mod:`mmsampriors.data_preparation.degradations`. [ours]

    Args:
        kind (str): One of ``KINDS``.
        severity (int): 1 to ``MOST_SEVERE``.
    """
    if not 1 <= severity <= MOST_SEVERE:
        raise ValueError(f'severity is 1 to {MOST_SEVERE}, found {severity}')
    share = severity / MOST_SEVERE
    if kind == 'rain':
        return dict(density=0.4 * share, brightness=0.4 + 0.5 * share, veiling=0.2 * share, length=25, width=1.6)
    if kind == 'noise':
        return dict(sigma=50 * share)
    if kind == 'camera':
        return dict(iso=100 * 128**share, contrast=0.5, saturation=0.3, quality=90)
    if kind == 'blur':
        return dict(length=14 * share, turn=100)
    raise ValueError(f'damage is one of {KINDS}, found {kind!r}')


def describe(kind: str, severity: int) -> str:
    """The damage in words."""
    if kind == SMALL:
        return 'Shrunk'
    settings = settings_of(kind, severity)
    if kind == 'rain':
        return f'Rain whose streaks cover {100 * settings["density"]:.0f} % of the area'
    if kind == 'noise':
        return f'Noise of σ {settings["sigma"]:.0f} (of 255)'
    if kind == 'camera':
        return f'Camera noise at ISO {settings["iso"]:.0f}'
    return f'Camera shake over {settings["length"]:.0f} pixels'


def damaged(clean: np.ndarray, kind: str, severity: int) -> np.ndarray:
    """A damaged copy; the same photograph, kind and severity give the same copy.

    Args:
        clean (np.ndarray): (H, W, 3), uint8.
        kind (str): One of ``KINDS``, or 'small', which changes nothing more.
        severity (int): 1 to ``MOST_SEVERE``.

    Returns:
        np.ndarray: (H, W, 3), uint8.

    Raises:
        ValueError: The photograph is too small for the blur.
    """
    if kind == SMALL:
        return clean
    rng = np.random.default_rng(zlib.crc32(kind.encode()))
    made = MAKERS[kind](clean.astype(np.float32) / 255, rng, **settings_of(kind, severity))
    return np.rint(made * 255).astype(np.uint8)


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
    return to_eight_bits(read_rgb(path, most_pixels))


def sample(name: str) -> np.ndarray:
    """A photograph that comes with scikit-image, (H, W, 3), uint8."""
    return read_rgb(Path(skimage.data.__file__).parent / SAMPLES[name])


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


def find_students(
    student: Optional[str], device: Optional[str] = None, allow_imports: bool = False
) -> Dict[str, Restorer]:
    """The student that was named, or those that come with the package.

    Args:
        student (str, optional): What :class:`.Restorer` takes.
        device (str, optional): Where it runs.
        allow_imports (bool): As :class:`.Restorer` takes it.

    Returns:
        dict[str, Restorer]: Empty where none was named and none comes with the package.

    Raises:
        FileNotFoundError: A file of a student is missing.
        ValueError: A student cannot be read.
    """
    if student is not None:
        return {_title(student): Restorer(student, device=device, allow_imports=allow_imports)}
    return {name: Restorer(name, device=device) for name in packaged_students()}


def _title(student):
    path = Path(student)
    return f'{path.parent.name}/{path.name}' if path.parent.name else path.name


def suited(students: Dict[str, Restorer], kind: str) -> Optional[str]:
    """The student that removes a kind of damage by its name, as those of the package do, or enlarges, or None."""
    if kind == SMALL:
        return next((name for name, student in students.items() if student.network.scale > 1), None)
    return kind if kind in students else None


def first_damage(students: Dict[str, Restorer]) -> str:
    """The damage that the page starts with: one that a student's name speaks of, or else a small size or noise."""
    other = SMALL if suited(students, SMALL) else 'noise'
    return next((kind for kind in KINDS if any(kind in name for name in students)), other)

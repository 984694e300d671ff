"""Textures of regions: smooth noise, photographs that may be used freely, patterns [ours].

Every function takes a ``numpy.random.Generator`` first and draws all its chances from it.
"""

from functools import lru_cache

import cv2
import numpy as np

# Photographs inside the scikit-image package (no download). Its documentation lists each as CC0, in the public domain
# or without known copyright restrictions.
PHOTOGRAPHS = (
    'astronaut',
    'brick',
    'camera',
    'chelsea',
    'clock',
    'coffee',
    'coins',
    'grass',
    'gravel',
    'hubble_deep_field',
    'immunohistochemistry',
    'moon',
    'retina',
    'rocket',
)

# Those that show a scene, not a surface, and are sharp.
SCENIC = ('astronaut', 'camera', 'chelsea', 'coffee', 'coins', 'rocket')


@lru_cache(maxsize=None)
def photographs() -> tuple:
    """The photographs as (H, W, 3) float32 RGB in [0, 1]."""
    from skimage import data

    images = [getattr(data, name)() for name in PHOTOGRAPHS]
    images = [np.repeat(i[..., None], 3, 2) if i.ndim == 2 else i[..., :3] for i in images]
    return tuple(np.ascontiguousarray(i, np.float32) / 255 for i in images)


def smooth_noise(rng, height: int, width: int, coarsest: float = 2, roughness: float = 1.0, stretch=(1, 1)):
    """Sum of octaves of interpolated white noise: zero mean, unit deviation.

    Args:
        rng (numpy.random.Generator): Source of chance.
        height (int): Rows.
        width (int): Columns.
        coarsest (float): Cells of the coarsest octave along the longer side.
        roughness (float): Octave k has weight ``2 ** (-k / roughness)``; larger is rougher.
        stretch (tuple): Factors on the cells along y and x; unequal ones give a grain.

    Returns:
        ndarray: (height, width), float32.
    """
    total, cells, weight = np.zeros((height, width), np.float32), coarsest, 1.0
    side = max(height, width)
    while True:
        rows = int(np.clip(cells * stretch[0] * height / side, 1, height)) + 1
        columns = int(np.clip(cells * stretch[1] * width / side, 1, width)) + 1
        grid = rng.standard_normal((rows, columns), np.float32)
        total += weight * cv2.resize(grid, (width, height), interpolation=cv2.INTER_CUBIC)
        cells, weight = cells * 2, weight * 2 ** (-1 / roughness)
        if cells > side or weight < 0.02:
            break
    return (total - total.mean()) / (total.std() + 1e-6)


def natural_color(rng) -> np.ndarray:
    """A colour of the kind photographs are made of: (3,) float32 RGB."""
    if rng.random() < 0.5:
        photo = photographs()[rng.integers(len(PHOTOGRAPHS))]
        color = photo[rng.integers(photo.shape[0]), rng.integers(photo.shape[1])]
    else:
        hsv = np.float32([[[rng.random() * 360, rng.beta(1.2, 2.5), rng.beta(1.8, 1.6)]]])
        color = cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)[0, 0]
    return np.clip(color * rng.uniform(0.7, 1.3) + rng.normal(0, 0.04, 3), 0.02, 0.98).astype(np.float32)


def near_color(rng, color: np.ndarray, distance: float) -> np.ndarray:
    """A colour ``distance`` (RGB units) from ``color``, mostly along brightness."""
    step = rng.standard_normal(3) * rng.uniform(0.1, 1) + rng.standard_normal()
    return np.clip(color + distance * step / (np.linalg.norm(step) + 1e-6), 0.02, 0.98).astype(np.float32)


def _photo_pattern(rng, height, width):
    """(H, W, 3): a window of a photograph, turned and scaled, at zero mean and unit deviation."""
    photo = photographs()[rng.integers(len(PHOTOGRAPHS))]
    zoom = np.exp(rng.uniform(np.log(0.6), np.log(4)))
    angle = rng.uniform(0, 2 * np.pi) if rng.random() < 0.5 else rng.integers(4) * np.pi / 2
    cos, sin = np.cos(angle) / zoom, np.sin(angle) / zoom
    x, y = rng.uniform(0, photo.shape[1]), rng.uniform(0, photo.shape[0])
    matrix = np.float32(
        [[cos, -sin, x - cos * width / 2 + sin * height / 2], [sin, cos, y - sin * width / 2 - cos * height / 2]]
    )
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    patch = cv2.warpAffine(photo, matrix, (width, height), flags=flags, borderMode=cv2.BORDER_REFLECT_101)
    mean = patch.mean((0, 1))
    return (patch - mean) / (patch.std() + 0.02)


def _noise_pattern(rng, height, width):
    """(H, W, 3): fractal noise, one field or two, along a colour axis."""
    stretch = (1, 1) if rng.random() < 0.6 else tuple(rng.permutation([1, rng.uniform(2, 8)]))
    coarsest = np.exp(rng.uniform(np.log(2), np.log(40)))
    field = smooth_noise(rng, height, width, coarsest, rng.uniform(0.5, 3), stretch)
    if rng.random() < 0.3:
        field = np.abs(field) * 1.5 - 1
    axis = np.ones(3) + rng.standard_normal(3) * rng.uniform(0, 0.7)
    return field[..., None] * axis.astype(np.float32)


def _wave_pattern(rng, height, width):
    """(H, W, 3): stripes, checks or dots, warped a little."""
    y, x = np.mgrid[:height, :width].astype(np.float32)
    angle, period = rng.uniform(0, np.pi), np.exp(rng.uniform(np.log(3), np.log(24)))
    u = (x * np.cos(angle) + y * np.sin(angle)) * 2 * np.pi / period
    v = (-x * np.sin(angle) + y * np.cos(angle)) * 2 * np.pi / (period * rng.uniform(0.6, 2))
    u += smooth_noise(rng, height, width, 2, 1) * rng.uniform(0, 1.5)
    kind = rng.integers(3)
    field = np.sin(u) if kind == 0 else np.sin(u) * np.sin(v) * 1.6 if kind == 1 else np.cos(u) + np.cos(v)
    field = np.tanh(field * rng.uniform(0.5, 4))
    axis = np.ones(3) + rng.standard_normal(3) * rng.uniform(0, 0.7)
    return field[..., None] * axis.astype(np.float32)


def _flat_pattern(rng, height, width):
    """(H, W, 3): a faint grain."""
    return smooth_noise(rng, height, width, 4, 1.5)[..., None] * np.float32([0.3, 0.3, 0.3])


PATTERNS = (_photo_pattern, _noise_pattern, _wave_pattern, _flat_pattern)


class Material:
    """What a region looks like: a base colour, a pattern, its contrast and a gradient.

    Drawn once and painted on as many regions as share it.

    Args:
        rng (numpy.random.Generator): Source of chance.
        color (ndarray, optional): (3,) base colour in [0, 1]. Drawn where not given.
        pattern (callable, optional): One of ``PATTERNS``. Drawn where not given.
    """

    def __init__(self, rng, color=None, pattern=None):
        self.color = natural_color(rng) if color is None else color
        self.pattern = pattern or PATTERNS[rng.choice(4, p=[0.45, 0.25, 0.08, 0.22])]
        self.contrast = np.exp(rng.uniform(np.log(0.015), np.log(0.2)))
        self.gradient = rng.exponential(0.08)
        self.chroma = rng.uniform(0, 1)

    def relative(self, rng) -> 'Material':
        """A material for a part beside this one: sometimes alike, sometimes not."""
        if rng.random() < 0.35:
            return Material(rng)
        pattern = self.pattern if rng.random() < 0.6 else None
        return Material(rng, near_color(rng, self.color, np.exp(rng.uniform(np.log(0.06), np.log(0.5)))), pattern)

    def paint(self, rng, height: int, width: int) -> np.ndarray:
        """(height, width, 3), float32, about [0, 1]."""
        values = self.pattern(rng, height, width)
        grey = values.mean(2, keepdims=True)
        values = grey + (values - grey) * self.chroma
        angle = rng.uniform(0, 2 * np.pi)
        ramp_y = np.linspace(-1, 1, height, dtype=np.float32)[:, None, None] * np.float32(np.sin(angle))
        ramp_x = np.linspace(-1, 1, width, dtype=np.float32)[None, :, None] * np.float32(np.cos(angle))
        return self.color + np.float32(self.contrast) * values + np.float32(self.gradient) * (ramp_y + ramp_x)

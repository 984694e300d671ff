"""Damage of a chosen severity, and how much of it restoring takes back."""

import zlib

import numpy as np
from skimage.metrics import peak_signal_noise_ratio

from mmsampriors.data_preparation.degradations import add_blur, add_noise, add_rain

NONE = 'none'
KINDS = ('rain', 'noise', 'blur')
MAKERS = dict(rain=add_rain, noise=add_noise, blur=add_blur)
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
    if kind == 'blur':
        return dict(length=14 * share, turn=100)
    raise ValueError(f'damage is one of {KINDS}, found {kind!r}')


def describe(kind: str, severity: int) -> str:
    """The damage in words."""
    settings = settings_of(kind, severity)
    if kind == 'rain':
        return f'Rain whose streaks cover {100 * settings["density"]:.0f} % of the area'
    if kind == 'noise':
        return f'Noise of σ {settings["sigma"]:.0f} (of 255)'
    return f'Camera shake over {settings["length"]:.0f} pixels'


def damaged(clean: np.ndarray, kind: str, severity: int) -> np.ndarray:
    """A damaged copy; the same photograph, kind and severity give the same copy.

    Args:
        clean (np.ndarray): (H, W, 3), uint8.
        kind (str): One of ``KINDS``.
        severity (int): 1 to ``MOST_SEVERE``.

    Returns:
        np.ndarray: (H, W, 3), uint8.

    Raises:
        ValueError: The photograph is too small for the blur.
    """
    rng = np.random.default_rng(zlib.crc32(kind.encode()))
    made = MAKERS[kind](clean.astype(np.float32) / 255, rng, **settings_of(kind, severity))
    return np.rint(made * 255).astype(np.uint8)


def psnr(image: np.ndarray, clean: np.ndarray) -> float:
    """PSNR in dB over all channels, as mmagic's without a border cut off; infinite where the two are equal."""
    if np.array_equal(image, clean):
        return float('inf')
    return float(peak_signal_noise_ratio(clean, image, data_range=255))

"""Synthetic camera shake."""

from dataclasses import dataclass

import cv2
import numpy as np
from scipy.ndimage import gaussian_filter1d

from .settings import Settings, setting

POINTS_PER_PIXEL = 8
GAMMA = 2.2


@dataclass(frozen=True, kw_only=True)
class BlurSettings(Settings):
    length: tuple = setting(
        (8.0, 35.0), 0, 500, 'length of the path that the camera travels while it exposes, in pixels'
    )
    turn: tuple = setting(
        (30.0, 200.0), 0, 1000, 'how far its direction wanders on the way, in degrees (standard deviation; 0: straight)'
    )


def add_blur(image: np.ndarray, rng: np.random.Generator, **settings) -> np.ndarray:
    """Blurs an image as a camera does that moves on a random path while it exposes.

    The path is a smooth random walk in the image plane, travelled at uneven speed, after Boracchi and Foi, "Modeling
    the Performance of Image Restoration From Motion Blur", TIP 2012, as DeblurGAN (CVPR 2018) used it for training;
    this walk of direction and its default ranges are [ours]. The same kernel applies to the whole image. Light is
    averaged in linear intensities, by the gamma 2.2 with which the GoPro set (Nah et al., CVPR 2017) was made. The
    kernel's centre of mass is its centre, so blurred and sharp images stay aligned.

    Args:
        image (np.ndarray): (H, W, 3) float in [0, 1].
        rng (np.random.Generator): Source of all randomness.
        **settings: Those of :class:`BlurSettings`; each a number or a pair (lowest, highest).

    Returns:
        np.ndarray: (H, W, 3) float32 in [0, 1].

    Raises:
        ValueError: The image is smaller than the kernel.
    """
    kernel = shake_kernel(rng, **BlurSettings(**settings).draw(rng))
    if min(image.shape[:2]) < len(kernel):
        raise ValueError(
            f'an image of {image.shape[1]}x{image.shape[0]} pixels is smaller than the blur kernel '
            f'({len(kernel)} pixels a side): lower length, or leave the image out'
        )
    linear = image.astype(np.float32) ** GAMMA
    blurred = cv2.filter2D(linear, cv2.CV_32F, kernel, borderType=cv2.BORDER_REFLECT_101)
    return np.clip(blurred, 0, 1) ** np.float32(1 / GAMMA)


def shake_kernel(rng: np.random.Generator, *, length: float, turn: float) -> np.ndarray:
    """Draws a camera path as a blur kernel: square, odd sides, non-negative, sum 1, float32."""
    path, dwell = shake_path(rng, length=length, turn=turn)
    path = path - dwell @ path
    reach = int(np.ceil(np.abs(path).max())) + 1
    kernel = np.zeros((2 * reach + 1, 2 * reach + 1))
    corner = np.floor(path).astype(int)
    part = path - corner
    # Each point spreads over its four neighbours, which keeps the centre of mass where it is.
    for dx in (0, 1):
        for dy in (0, 1):
            share = np.abs(1 - dx - part[:, 0]) * np.abs(1 - dy - part[:, 1])
            np.add.at(kernel, (corner[:, 1] + dy + reach, corner[:, 0] + dx + reach), dwell * share)
    return (kernel / kernel.sum()).astype(np.float32)


def shake_path(rng: np.random.Generator, *, length: float, turn: float) -> tuple[np.ndarray, np.ndarray]:
    """Walks a random path of exactly ``length`` pixels.

    Returns:
        tuple: Points (T, 2) as (x, y) in pixels, and the share of the exposure spent at each, (T,), sum 1.
    """
    steps = max(64, round(length * POINTS_PER_PIXEL))
    wander = np.cumsum(rng.standard_normal(steps)) / np.sqrt(steps)
    heading = rng.uniform(0, 2 * np.pi) + np.deg2rad(turn) * gaussian_filter1d(wander, steps / 30)
    path = np.cumsum(np.stack([np.cos(heading), np.sin(heading)], axis=1), axis=0) * (length / steps)
    slowness = gaussian_filter1d(rng.standard_normal(steps), steps / 15)
    dwell = np.exp(0.6 * slowness / slowness.std())
    return path, dwell / dwell.sum()

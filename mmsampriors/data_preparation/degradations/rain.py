"""Synthetic rain streaks."""

from dataclasses import dataclass

import cv2
import numpy as np

from .settings import Settings, setting

# Drops at several depths: the near ones are longer, wider and fewer. Factors on length and width. [ours]
DEPTHS = (0.5, 0.75, 1.0, 1.3, 1.7)
# Wind is not the same everywhere: standard deviation of a depth's direction from the image's, in degrees. [ours]
ANGLE_SPREAD = 2.5
AIRLIGHT = 0.85
SIGMA_OF_FWHM = 1 / 2.3548


@dataclass(frozen=True, kw_only=True)
class RainSettings(Settings):
    angle: tuple = setting(
        (-35.0, 35.0), -90, 90, 'direction of fall, in degrees from the vertical (positive: to the right)'
    )
    length: tuple = setting((15.0, 40.0), 2, 500, 'length of a streak at middle depth, in pixels')
    width: tuple = setting((1.0, 2.2), 0.5, 50, 'full width of a streak at half its brightness, in pixels')
    density: tuple = setting((0.05, 0.25), 0, 2, 'area of all streaks, as a share of the image (overlaps count twice)')
    brightness: tuple = setting((0.4, 0.8), 0, 1, 'opacity of the brightest streaks')
    veiling: tuple = setting((0.0, 0.2), 0, 1, 'share of the light that far rain replaces by a grey veil')


def add_rain(image: np.ndarray, rng: np.random.Generator, **settings) -> np.ndarray:
    """Adds rain streaks and a veil: ``O = (1 - v) (B + S (1 - B)) + v A``.

    S are the streaks, blended as a screen (as where Rain800 and Rain1200 were made in an image editor: noise, motion
    blur, screen), in several layers with their own direction, under a veil of transmission 1 - v and airlight A (the
    heavy rain model of Yang et al., "Deep Joint Rain Detection and Removal from a Single Image", CVPR 2017). Depths,
    soft streak profile and default ranges are [ours].

    Args:
        image (np.ndarray): (H, W, 3) float in [0, 1].
        rng (np.random.Generator): Source of all randomness.
        **settings: Those of :class:`RainSettings`; each a number or a pair (lowest, highest).

    Returns:
        np.ndarray: (H, W, 3) float32 in [0, 1].
    """
    drawn = RainSettings(**settings).draw(rng)
    veiling = drawn.pop('veiling')
    streaks = draw_streaks(image.shape[:2], rng, **drawn)[..., None]
    image = image.astype(np.float32)
    return (1 - veiling) * (image + streaks * (1 - image)) + np.float32(veiling * AIRLIGHT)


def draw_streaks(size, rng, *, angle: float, length: float, width: float, density: float, brightness: float):
    """Draws rain streaks of all depths as a map of opacity, (H, W) float32 in [0, ``brightness``]."""
    clear = np.ones(size, np.float32)
    for depth in DEPTHS:
        kernel = streak_kernel(angle + rng.normal(0, ANGLE_SPREAD), length * depth, width * depth)
        drops = _scatter_drops(size, rng, kernel, density / len(DEPTHS) / (length * width * depth**2))
        clear *= 1 - np.minimum(drops * np.float32(brightness), 1)
    return np.minimum(1 - clear, np.float32(brightness))


def _scatter_drops(size, rng, kernel, drops_per_pixel):
    reach_y, reach_x = kernel.shape[0] // 2, kernel.shape[1] // 2
    # Drops start beyond the border too, so that streaks enter and leave the image as they cross it.
    height, width = size[0] + 2 * reach_y, size[1] + 2 * reach_x
    count = rng.poisson(drops_per_pixel * height * width)
    seeds = np.zeros((height, width), np.float32)
    places = rng.integers(height * width, size=count)
    np.add.at(seeds.reshape(-1), places, rng.uniform(0.25, 1, count).astype(np.float32))
    drops = cv2.filter2D(seeds, cv2.CV_32F, kernel, borderType=cv2.BORDER_CONSTANT)
    return np.clip(drops[reach_y : reach_y + size[0], reach_x : reach_x + size[1]], 0, 1)


def streak_kernel(angle: float, length: float, width: float) -> np.ndarray:
    """Makes one streak of peak 1: Gaussian across, faded at both ends along; odd sides, float32."""
    direction = np.array([np.sin(np.deg2rad(angle)), np.cos(np.deg2rad(angle))])
    # A pixel averages over its own area, which widens what would be thinner than the sampling.
    sigma = np.hypot(width * SIGMA_OF_FWHM, np.sqrt(1 / 12))
    reach_x, reach_y = np.ceil(np.abs(direction) * length / 2 + 3 * sigma).astype(int)
    y, x = np.mgrid[-reach_y : reach_y + 1, -reach_x : reach_x + 1]
    along = x * direction[0] + y * direction[1]
    across = x * direction[1] - y * direction[0]
    fade = np.cos(np.pi / 2 * np.clip(2 * along / length, -1, 1)) ** 0.5
    return (fade * np.exp(-(across**2) / (2 * sigma**2))).astype(np.float32)

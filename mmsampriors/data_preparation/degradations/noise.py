"""Synthetic camera noise."""

from dataclasses import dataclass

import numpy as np

from .settings import Settings, setting


@dataclass(frozen=True, kw_only=True)
class NoiseSettings(Settings):
    sigma: tuple = setting(
        25.0, 0, 255, 'standard deviation of the Gaussian noise, in 0 to 255; a range makes blind pairs'
    )
    peak: tuple | None = setting(
        None, 1, 1e6, 'photons that a white pixel collects (their noise: Poisson); not given: Gaussian noise alone'
    )


def add_noise(image: np.ndarray, rng: np.random.Generator, **settings) -> np.ndarray:
    """Adds white Gaussian noise, or Poisson-Gaussian noise where ``peak`` is set, independent in every channel.

    ``O = P + N(0, sigma / 255)`` with P the image, or ``Poisson(peak * image) / peak``: the variance at an intensity
    x is ``x / peak + (sigma / 255)^2``, the model of Foi et al., "Practical Poissonian-Gaussian Noise Modeling and
    Fitting for Single-Image Raw-Data", TIP 2008. As in colour denoising benchmarks (sigma 15, 25, 50, or blind 0 to
    50) the noise is added to the intensities of the file. The result is clipped to [0, 1], as a saved file must be.

    Args:
        image (np.ndarray): (H, W, 3) float in [0, 1].
        rng (np.random.Generator): Source of all randomness.
        **settings: Those of :class:`NoiseSettings`; each a number or a pair (lowest, highest).

    Returns:
        np.ndarray: (H, W, 3) float32 in [0, 1].
    """
    drawn = NoiseSettings(**settings).draw(rng)
    image = image.astype(np.float32)
    if drawn['peak'] is not None:
        image = (rng.poisson(image * drawn['peak']) / drawn['peak']).astype(np.float32)
    noise = rng.standard_normal(image.shape, np.float32) * np.float32(drawn['sigma'] / 255)
    return np.clip(image + noise, 0, 1)

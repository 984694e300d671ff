"""Synthetic rain, noise and blur, as pure functions on float images.

Every function takes an image (H, W, 3) of float in [0, 1], in the intensities that the file holds (gamma-encoded, as
deraining, denoising and deblurring publications take them), and a ``numpy.random.Generator``; it returns float32 of
the same shape in [0, 1]. The result is a function of the image, the generator's state and the settings alone.
"""

from .blur import BlurSettings, add_blur
from .noise import NoiseSettings, add_noise
from .rain import RainSettings, add_rain
from .robustness import ROBUSTNESS
from .settings import Settings

__all__ = [
    'ROBUSTNESS',
    'BlurSettings',
    'NoiseSettings',
    'RainSettings',
    'Settings',
    'add_blur',
    'add_noise',
    'add_rain',
]

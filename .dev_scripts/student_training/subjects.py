"""What each student of the package takes away, and the photographs that it learns from."""

from dataclasses import dataclass
from typing import Callable

from mmsampriors.data_preparation.degradations import (
    BlurSettings,
    NoiseSettings,
    RainSettings,
    add_blur,
    add_noise,
    add_rain,
)
from mmsampriors.data_preparation.degradations.settings import Settings


@dataclass(frozen=True)
class Subject:
    """A degradation.

    Args:
        degrade (callable): Adds it to a photograph.
        settings (Settings): How strong it is.
        patch (int): Side of the patches that training sees, in pixels.
    """

    degrade: Callable
    settings: Settings
    patch: int


SUBJECTS = dict(
    rain=Subject(add_rain, RainSettings(density=(0.05, 0.25), brightness=(0.4, 0.85), veiling=(0.0, 0.1)), 64),
    noise=Subject(add_noise, NoiseSettings(sigma=(0.0, 50.0)), 64),
    blur=Subject(add_blur, BlurSettings(length=(3.0, 9.0)), 64),
)
#: Photographs of scikit-image. Gray ones count as colour photographs whose channels are equal.
TRAIN = (
    'astronaut.png',
    'rocket.jpg',
    'motorcycle_left.png',
    'motorcycle_right.png',
    'retina.jpg',
    'hubble_deep_field.jpg',
    'ihc.png',
    'camera.png',
    'coins.png',
    'brick.png',
    'grass.png',
    'gravel.png',
)
TEST = ('chelsea.png', 'coffee.png')

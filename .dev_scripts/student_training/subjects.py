"""What each student of the package takes away, and how it is trained and measured."""

from dataclasses import dataclass
from typing import Callable, Dict, Optional, Tuple

from mmsampriors.data_preparation.degradations import (
    BlurSettings,
    CameraSettings,
    NoiseSettings,
    RainSettings,
    Settings,
    add_blur,
    add_camera_noise,
    add_noise,
    add_rain,
)


@dataclass(frozen=True)
class Subject:
    """A degradation, and the recipe against it.

    Args:
        degrade (callable): Adds it to a photograph.
        settings (Settings): How strong it is.
        updates (tuple[int, ...]): One number: plain training. Three: of the student alone, of the refiner, and of the
            student under it.
        tests (dict[str, Settings]): What to measure, by the names of the rows.
        versions (int): With SPD: how often each photograph is degraded.
        patch (int): Side of the patches that training sees, in pixels.
        margin (int): Plain: pixels around a patch that are degraded with it and cut away, so that it has no border.
        start (str | None): Plain: the student of the package whose weights are the first.
    """

    degrade: Callable
    settings: Settings
    updates: Tuple[int, ...]
    tests: Dict[str, Settings]
    versions: int = 0
    patch: int = 64
    margin: int = 0
    start: Optional[str] = None


RAIN = RainSettings(density=(0.05, 0.25), brightness=(0.4, 0.85), veiling=(0.0, 0.1))
BLUR = BlurSettings(length=(3.0, 9.0))
SUBJECTS = dict(
    rain=Subject(add_rain, RAIN, (4000, 500, 700), dict(rain=RAIN), versions=12),
    noise=Subject(
        add_noise,
        NoiseSettings(sigma=(0.0, 50.0)),
        (35000,),
        {f'sigma {sigma}': NoiseSettings(sigma=sigma) for sigma in (0, 15, 25, 50)},
    ),
    camera=Subject(
        add_camera_noise,
        CameraSettings(),
        (2250,),
        {f'iso {iso}': CameraSettings(iso=iso) for iso in (400, 1600, 6400)},
        margin=8,
        start='noise',
    ),
    blur=Subject(add_blur, BLUR, (10000, 800, 1200), dict(blur=BLUR), versions=24),
)

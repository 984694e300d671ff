"""What each student of the package takes away, and how it is trained and measured."""

from dataclasses import dataclass, field
from typing import Callable, Dict, Optional, Tuple

from mmsampriors.data_preparation.degradations import (
    BlurSettings,
    CameraSettings,
    LowresSettings,
    NoiseSettings,
    RainSettings,
    Settings,
    add_blur,
    add_camera_noise,
    add_noise,
    add_rain,
    make_lowres,
)


@dataclass(frozen=True)
class Subject:
    """A degradation, and the recipe against it.

    Args:
        degrade (callable): Adds it to a photograph.
        settings (Settings): How strong it is.
        updates (tuple[int, ...]): Of plain training. Then, with SPD, of the refiner and of the student under it.
        tests (dict[str, Settings]): What to measure, by the names of the rows.
        unlabeled (Settings | None): With SPD: how strong it is on photographs without ground truth.
        patch (int): Side of the patches that training sees, in pixels.
        grows (bool): In the second half the patches have twice the side, and are half as many. NAFNets average over a
            whole patch, and meet larger photographs later.
        margin (int): Pixels around a patch that are degraded with it and cut away, so that it has no border.
        soft (float): Half of the patches are soft before they are degraded, by a Gaussian of a sigma of up to this, in
            pixels.
        undamaged (float): The share of patches that are not degraded.
        start (str | None): The student of the package whose weights are the first.
        config (str): Of ``configs/spd``, whose network it is.
        network (dict): What of the network is otherwise.
        loss (str): ``psnr``, ``bounded_psnr`` or ``l1``.
    """

    degrade: Callable
    settings: Settings
    updates: Tuple[int, ...]
    tests: Dict[str, Settings]
    unlabeled: Optional[Settings] = None
    patch: int = 64
    grows: bool = False
    margin: int = 0
    soft: float = 0.0
    undamaged: float = 0.0
    start: Optional[str] = None
    config: str = 'nafnet_derain-tiny.py'
    network: Dict = field(default_factory=lambda: dict(enc_blk_nums=[1, 2, 2], dec_blk_nums=[2, 2, 1]))
    loss: str = 'psnr'


def super_resolution(scale: int, updates: int, start: Optional[str] = None) -> Subject:
    """The subject that takes away bicubic reduction by ``scale``; patches of 32 pixels before it."""
    settings = LowresSettings(scale=scale)
    return Subject(
        make_lowres,
        settings,
        (updates,),
        {f'bicubic x{scale}': settings},
        patch=32 * scale,
        margin=4 * scale,
        start=start,
        config=f'edsr_sr_x{scale}-tiny.py',
        network=dict(num_blocks=12),
        loss='l1',
    )


RAIN = RainSettings(density=(0.05, 0.25), brightness=(0.4, 0.85), veiling=(0.0, 0.1))
HEAVY_RAIN = RainSettings(density=(0.4, 0.8), brightness=(0.6, 0.9), veiling=(0.0, 0.1))
DOWNPOUR = RainSettings(density=(0.8, 1.5), brightness=(0.6, 0.9), veiling=(0.0, 0.1))
BLUR = BlurSettings(length=(3.0, 9.0))
SUBJECTS = dict(
    rain=Subject(
        add_rain,
        RAIN,
        (20000, 500, 1000),
        {'rain': RAIN, 'heavy rain': HEAVY_RAIN, 'downpour': DOWNPOUR},
        unlabeled=DOWNPOUR,
        grows=True,
        margin=16,
    ),
    noise=Subject(
        add_noise,
        NoiseSettings(sigma=(0.0, 50.0)),
        (110000,),
        {f'sigma {sigma}': NoiseSettings(sigma=sigma) for sigma in (0, 15, 25, 50)},
        grows=True,
    ),
    camera=Subject(
        add_camera_noise,
        CameraSettings(),
        (10000,),
        {f'iso {iso}': CameraSettings(iso=iso) for iso in (400, 1600, 6400)},
        grows=True,
        margin=8,
        start='noise',
    ),
    # Soft and undamaged patches too: with blur alone it sharpens what was soft before.
    blur=Subject(
        add_blur,
        BlurSettings(length=(0.0, 9.0)),
        (100000,),
        {**{f'length {length}': BlurSettings(length=length) for length in (0, 1, 2, 3, 5, 7, 9)}, 'blur': BLUR},
        grows=True,
        margin=12,
        soft=1.5,
        undamaged=0.15,
        network=dict(mid_channels=32, enc_blk_nums=[1, 1], dec_blk_nums=[1, 1]),
        loss='bounded_psnr',
    ),
    x4=super_resolution(4, 58000),
    x2=super_resolution(2, 20000, start='x4'),
)

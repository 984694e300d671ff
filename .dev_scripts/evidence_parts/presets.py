"""How large the trainings are."""

from dataclasses import dataclass, field, replace
from typing import Optional

from mmsampriors.data_preparation.degradations import ROBUSTNESS, LowresSettings, make_lowres

#: Task to name of a degradation to how it is made, (function, settings).
DEGRADATIONS = {**ROBUSTNESS, 'super_resolution': dict(bicubic_4=(make_lowres, LowresSettings(scale=4)))}
#: The degradation that each task trains on.
TRAINED_ON = dict(derain='rain', denoise='noise_50', deblur='blur', super_resolution='bicubic_4')


@dataclass(frozen=True, eq=False)
class Preset:
    """Sizes of all trainings of a table.

    Args:
        name (str): What the rows call it.
        generators (dict[str, dict]): Model to what its network has other than in ``configs/_base_/models``; all of it
            for super-resolution.
        learning_rates (dict[str, float]): Model to AdamW's learning rate.
        updates (dict[str, int]): Model to student updates, a multiple of 4.
        patch (int): Side of the training patches in pixels.
        batch (int): Patches an update.
        refiner (float): Iterations of a stage that trains the refiner alone, as a share of the updates.
        timed (int): Iterations of a timing.
        workers (int): Loader processes of a training.
        jobs (int): Trainings side by side on one device.
        unlike (int, optional): Photographs of each test set that was not trained on; None for all.
        start (float): With two stages the student starts from plain training's checkpoint at this share of the updates.
            1: a finished network goes on, with ``more`` updates at ``restart`` times the learning rate.
        more (float): Updates beyond those of plain training, as a share of them, for all that start from a finished
            network; plain training for the time of SPD starts from it too.
        restart (float): Factor of the learning rate there; it falls by a cosine again.
        unlabeled (int): One photograph in so many is kept from all pairs to serve without its ground truth; 0: none.
        validations (int): Validations of a training.
        sets (dict[str, list[str]]): Task to its test sets, where these are not all degradations of the task.
        upright (tuple[str]): Tasks whose patches are mirrored left to right only: rain falls, and a small student that
            has to know it from all sides hardly removes any.
        bitmaps (bool): Whether pairs to train on are stored as bitmaps too: a PNG takes as long to read as a small
            student takes to learn from it.
        spd (dict): Dotted keys below ``model.spd`` and their values, for the size of the method's parts.
    """

    name: str
    generators: dict
    learning_rates: dict
    updates: dict
    patch: int
    batch: int
    refiner: float
    timed: int
    workers: int
    jobs: int
    unlike: Optional[int] = None
    start: float = 0.25
    more: float = 0.0
    restart: float = 0.5
    unlabeled: int = 0
    validations: int = 8
    sets: dict = field(default_factory=dict)
    upright: tuple = ()
    bitmaps: bool = False
    spd: dict = field(default_factory=dict)

    def part(self, name: str) -> str:
        """Name of the folder of pairs that is trained on: ``name`` is ``train`` or ``unlabeled``."""
        return f'{name}_bitmaps' if self.bitmaps else name


#: A small student, and photographs without ground truth. One core, one process.
SMALL = Preset(
    name='small',
    generators=dict(dncnn={}),
    learning_rates=dict(dncnn=1e-3),
    updates=dict(dncnn=2000),
    patch=64,
    batch=4,
    refiner=0.5,
    timed=60,
    workers=0,
    jobs=1,
    start=0.5,
    unlabeled=3,
    validations=2,
    bitmaps=True,
    sets=dict(derain=['rain', 'rain_heavy'], denoise=['noise_50', 'noise_75']),
    upright=('derain',),
    spd={'model.spd.spf.channels': 8, 'model.spd.losses.sgr': None, 'model.spd.losses.spd.loss_weight': 1.0},
)

#: The same, finished by plain training, goes on for a little, under SPD or without.
FINISHED = replace(SMALL, name='finished', updates=dict(dncnn=32000), refiner=1 / 64, start=1.0, more=1 / 32)

#: An EDSR of 4 blocks and 16 channels, for super-resolution.
SR = replace(
    SMALL,
    name='sr',
    generators=dict(
        edsr=dict(type='EDSRNet', in_channels=3, out_channels=3, mid_channels=16, num_blocks=4, upscale_factor=4)
    ),
    learning_rates=dict(edsr=1e-3),
    updates=dict(edsr=2000),
    patch=96,
    validations=1,
    jobs=2,
    unlabeled=0,
)

PRESETS = {
    preset.name: preset
    for preset in (
        Preset(
            name='cpu',
            generators=dict(nafnet={}, restormer={}),
            learning_rates=dict(nafnet=1e-3, restormer=5e-4),
            updates=dict(nafnet=800, restormer=300),
            patch=64,
            batch=4,
            refiner=1.0,
            timed=60,
            workers=0,
            jobs=2,
            unlike=5,
        ),
        SMALL,
        FINISHED,
        SR,
        # The same network under a refiner that is trained for longer, and may be larger.
        replace(FINISHED, name='gap', refiner=3 / 32, more=1 / 16),
        Preset(
            name='gpu',
            generators=dict(
                nafnet=dict(mid_channels=32, enc_blk_nums=[1, 1, 2, 4], middle_blk_num=1, dec_blk_nums=[1, 1, 1, 1]),
                restormer=dict(dim=24, num_blocks=[2, 2, 2, 4], num_refinement_blocks=2),
            ),
            learning_rates=dict(nafnet=1e-3, restormer=5e-4),
            updates=dict(nafnet=6000, restormer=3000),
            patch=128,
            batch=16,
            refiner=0.6,
            timed=200,
            workers=4,
            jobs=3,
        ),
    )
}

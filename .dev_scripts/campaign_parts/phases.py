"""What the campaign disturbs: each tool on data so small that a run takes seconds."""

from pathlib import Path
from typing import Callable, NamedTuple

import numpy as np
import skimage.data
from PIL import Image

CONFIG = """
_base_ = ['mmagic::nafnet/nafnet_c64eb11128mb1db1111_8xb8-lr1e-3-400k_gopro.py', 'mmsampriors::_base_/spd.py']
masks = dict(
    type='CachedMasks', segmenter=dict(type='FelzenszwalbMasks', min_size=60), source='gt', cache_dir={masks!r})
model = dict(
    type='mmsampriors.SPDModel',
    generator=dict(type='NAFNet', mid_channels=4, enc_blk_nums=[1], dec_blk_nums=[1], middle_blk_num=1),
    spd={{
        **_base_.spd, 'masks': masks, 'spf': dict(type='SPFUnit', channels=4, mask_dropout=0.5),
        'analyzer': dict(type='EfficientNetAnalyzer', stage=1),
        'schedule': dict(type='TwoStageSchedule', warmup=0.25, refiner=0.25)}})
custom_hooks = [*_base_.spd_hooks, dict(type='EMAHook', momentum=0.1)]
train_pipeline = [
    dict(type='LoadImageFromFile', key='img', channel_order='rgb'),
    dict(type='LoadImageFromFile', key='gt', channel_order='rgb'),
    dict(type='SetValues', dictionary=dict(scale=1)),
    dict(type='Flip', keys=['img', 'gt'], flip_ratio=0.5, direction='horizontal'),
    dict(type='PairedRandomCrop', gt_patch_size=32),
    dict(type='PackInputs')]
test_pipeline = [*train_pipeline[:2], dict(type='PackInputs')]
pairs = dict(data_root={pairs!r}, data_prefix=dict(img='input', gt='target'))
train_dataloader = dict(
    num_workers=0, batch_size=2, persistent_workers=False, dataset=dict(pipeline=train_pipeline, **pairs))
few = dict(indices=2, pipeline=test_pipeline, **pairs)
val_dataloader = dict(num_workers=0, persistent_workers=False, dataset=few)
test_dataloader = val_dataloader
val_evaluator = [dict(type='PSNR')]
test_evaluator = val_evaluator
train_cfg = dict(max_iters=8, val_interval=4)
param_scheduler = dict(type='CosineAnnealingLR', by_epoch=False, T_max=8, eta_min=1e-7)
default_hooks = dict(
    logger=dict(interval=1),
    checkpoint=dict(interval=2, max_keep_ckpts=2, save_best='PSNR', rule='greater', out_dir=None))
randomness = dict(seed=0)
"""


class Phase(NamedTuple):
    """One tool that is disturbed.

    Attributes:
        name (str): What the table calls it.
        command (callable): Gives the command for a folder; called anew for each start, after a kill too.
        share (int): Of the kills.
        processes (int): How many processes run it.
    """

    name: str
    command: Callable
    share: int
    processes: int = 1


def make_inputs(folder: Path):
    """Photographs, and a folder as GoPro's authors release it."""
    images = [getattr(skimage.data, name)() for name in ('astronaut', 'chelsea', 'coffee', 'rocket')]
    for number in range(8):
        image = images[number % 4]
        _save(image[32 * (number // 4) :][:96, 40:136], folder / 'photographs' / f'{number}.png')
    for split, count in (('train', 3), ('test', 1)):
        for number in range(count):
            image = np.tile(images[number][:300, :320], (2, 2, 1))
            for kind in ('input', 'target'):
                _save(image, folder / 'gopro' / split / kind / f'{number}.png')


def write_config(folder: Path, out: Path) -> Path:
    """The config of a run whose stored masks go below ``out``."""
    out.mkdir(parents=True, exist_ok=True)
    path = out.parent / f'{out.name}.py'
    path.write_text(CONFIG.format(masks=str(out / 'masks'), pairs=str(folder / 'pairs')))
    return path


def phases_in(folder: Path) -> list:
    """All phases, whose inputs are below ``folder``. The order matters: the later ones use what the earlier made."""
    checkpoint = folder / 'whole' / 'train' / 'work' / 'iter_8.pth'

    def train(out):
        resume = ['--resume'] if (out / 'work' / 'last_checkpoint').exists() else []
        return ['tools/train.py', write_config(folder, out), '--work-dir', out / 'work', *resume]

    def cache(out):
        return ['tools/cache_masks.py', write_config(folder, out)]

    def test(out):
        return ['tools/test.py', write_config(folder, out), checkpoint, '--refined', '--work-dir', out]

    def export(out):
        return ['tools/export_student.py', write_config(folder, out), checkpoint, out / 'student.pth']

    def rain(out):
        return ['tools/dataset_converters/make_rain.py', folder / 'photographs', out, '--workers', 2]

    def crops(out):
        return ['tools/dataset_converters/prepare_gopro.py', folder / 'gopro', out]

    def quickstart(out):
        script = '.dev_scripts/campaign_parts/small_quickstart.py'
        return [script, '--out', out, '--first', 2, '--refiner', 2, '--then', 2]

    return [
        Phase('make_rain', rain, 14),
        Phase('crops', crops, 10),
        Phase('cache', cache, 14),
        Phase('cache, 2 processes', cache, 8, 2),
        Phase('train', train, 26),
        Phase('train, 2 processes', train, 14, 2),
        Phase('test', test, 8),
        Phase('test, 2 processes', test, 4, 2),
        Phase('export', export, 8),
        Phase('quickstart', quickstart, 6),
    ]


def _save(image, path):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.ascontiguousarray(image)).save(path)

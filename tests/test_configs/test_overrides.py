"""Every documented override of ``model.spd`` on every config: on the command line, in a child, and in a grandchild."""

import copy
import re
from pathlib import Path

import pytest
from mmengine.config import Config
from tool_processes import run_as_process

import mmsampriors
from mmsampriors.checks.config_check import check_config

ROOT = Path(mmsampriors.__file__).resolve().parents[1]
CONFIGS = sorted((ROOT / 'configs' / 'spd').glob('*.py'))

#: Key of ``model.spd`` to what the README's table offers for it.
OVERRIDES = dict(
    masks=[
        dict(type='NoMasks'),
        dict(type='SAMMasks', model_type='vit_b', checkpoint='sam.pth'),
        dict(type='FelzenszwalbMasks', scale=100.0),
        dict(type='LabelMapMasks', folder='maps'),
        dict(type='CachedMasks', segmenter=dict(type='SAMMasks', model_type='vit_h'), cache_dir='data/masks'),
    ],
    spf=[dict(type='SPFUnit', inject='image', channels=16)],
    refiner=[dict(type='NAFNet', img_channels=3, mid_channels=24), dict(type='SwinIRNet'), None],
    feature_extractor=[dict(type='VGGExtractor'), dict(type='SAMEncoderExtractor')],
    losses=[
        dict(spd=dict(type='SPDLoss', loss_weight=1.0, pixel_loss=dict(type='L1Loss')), sgr=None),
        dict(sgr=dict(type='SGRLoss', loss_weight=0.3)),
    ],
    schedule=[dict(type='JointSchedule'), dict(type='TwoStageSchedule', warmup=0)],
)
#: Dotted keys as users write them on the command line.
DOTTED = {
    'masks.segmenter.checkpoint': 'sam.pth',
    'masks.segmenter.model_type': 'vit_b',
    'masks.segmenter.type': 'SAMMasks',
    'masks.cache_dir': 'data/masks',
    'spf.inject': 'image',
    'losses.sgr.type': 'SGRLoss',
    'losses.sgr.loss_weight': 0.3,
    'losses.spd.loss_weight': 1,
    'schedule.type': 'JointSchedule',
    'schedule.warmup': 0,
}
#: Every value of every key, in as few configs as that takes.
CASES = [
    {key: values[number % len(values)] for key, values in OVERRIDES.items()}
    for number in range(max(map(len, OVERRIDES.values())))
]


def without_scopes(node):
    return (
        {key: without_scopes(value) for key, value in node.items() if key != '_scope_'}
        if isinstance(node, dict)
        else node
    )


def is_as_written(found, written, base):
    """Whether a part is what was written: the whole dict where its type is new, else the written keys."""
    found, base = without_scopes(found), without_scopes(base)
    if not isinstance(written, dict) or not isinstance(base, dict) or written.get('type') != base.get('type'):
        return found == written
    return all(
        is_as_written(found[key], value, base.get(key)) if isinstance(value, dict) else found[key] == value
        for key, value in written.items()
    )


def test_every_key_of_the_readme_is_tried():
    lines = (ROOT / 'README.md').read_text().splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith('| key | what it is'))
    table = lines[start + 2 : lines.index('', start)]
    keys = [re.match(r'\| `(\w+)', line)[1] for line in table]
    assert list(dict.fromkeys(keys)) == list(OVERRIDES)


every_config = pytest.mark.parametrize(
    'config',
    [
        pytest.param(path, id=path.stem, marks=() if path.stem.endswith('-tiny') else pytest.mark.slow)
        for path in CONFIGS
    ],
)


@every_config
def test_on_the_command_line(config):
    base = Config.fromfile(config)
    for key, value in DOTTED.items():
        cfg = copy.deepcopy(base)
        cfg.merge_from_dict({f'model.spd.{key}': value})
        part = cfg.model.spd
        for name in key.split('.'):
            part = part[name]
        assert part == value
    cfg.merge_from_dict({f'model.spd.{key}': value for key, value in DOTTED.items()})
    check_config(cfg)
    cfg = copy.deepcopy(base)
    cfg.merge_from_dict({'model.spd.schedule.type': 'JointSchedule'})
    assert without_scopes(cfg.model.spd.schedule) == dict(type='JointSchedule')


@every_config
def test_in_a_child_and_a_grandchild(config, tmp_path):
    base = Config.fromfile(config).model.spd
    (tmp_path / 'between.py').write_text(f'_base_ = {str(config)!r}\n')
    for number, parts in enumerate(CASES):
        for parent, form in ((str(config), f'spd={{**_base_.spd, **{parts!r}}}'), ('between.py', f'spd={parts!r}')):
            path = tmp_path / f'{Path(parent).stem}_{number}.py'
            path.write_text(f'_base_ = {parent!r}\nmodel = dict({form})\n')
            cfg = Config.fromfile(path)
            for key, value in parts.items():
                assert is_as_written(cfg.model.spd[key], value, base[key]), (path.read_text(), cfg.model.spd[key])
            if number == 0:
                check_config(cfg)


@pytest.mark.slow
@pytest.mark.parametrize(
    'option, error',
    [
        ('checkpoint=sam.pth', 'no SAM checkpoint at sam.pth'),
        ('model_type=vit_b', 'data/Rain13K'),
    ],
)
def test_the_main_job_takes_its_own_sam(option, error, tmp_path):
    """The real command gets as far as what this machine lacks: the checkpoint that was named, or else the data."""
    config = ROOT / 'configs' / 'spd' / 'restormer_derain.py'
    command = ['tools/train.py', config, '--cfg-options', f'model.spd.masks.segmenter.{option}']
    run = run_as_process(command, cwd=tmp_path)
    assert run.returncode and 'has no effect' not in run.stderr
    assert error in run.stderr

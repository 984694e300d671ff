"""Values of another kind than a part takes, found before anything is built."""

from pathlib import Path
from typing import Optional

import pytest
from mmengine.config import Config
from tool_processes import run_as_process

import mmsampriors.models  # noqa: F401
from mmsampriors.checks.config_check import check_training
from mmsampriors.checks.config_values import check_arguments
from mmsampriors.registry import MODELS

ROOT = Path(__file__).resolve().parents[2]
NAN, INF = float('nan'), float('inf')


@pytest.mark.parametrize(
    'key, given, message',
    [
        ('masks', dict(type='LabelMapMasks', folder=[1, 1]), r'masks.folder must be a text, found \[1, 1\]'),
        ('masks', dict(type='LabelMapMasks', folder=None), 'masks.folder must be a text, found None'),
        ('masks', dict(type='CocoRLEMasks', folder=INF), 'masks.folder must be a text, found inf'),
        ('masks', dict(type='CachedMasks', segmenter='tiny'), "masks.segmenter must be a dict, found 'tiny'"),
        (
            'masks',
            dict(type='CachedMasks', segmenter=dict(type='FelzenszwalbMasks', min_size=2.5)),
            'masks.segmenter.min_size must be a whole number, found 2.5',
        ),
        (
            'masks',
            dict(type='CachedMasks', segmenter=dict(type='FelzenszwalbMask')),
            r"masks.segmenter.type = 'FelzenszwalbMask' is not registered \(is FelzenszwalbMasks meant",
        ),
        (
            'losses.spd',
            dict(type='SPDLoss', pixel_loss=dict(type='L1Los')),
            r"losses.spd.pixel_loss.type = 'L1Los' is not registered \(is L1Loss meant",
        ),
        ('schedule', dict(type='TwoStages'), r"schedule.type = 'TwoStages' is not registered \(is TwoStageSchedule"),
        ('spf', dict(channels=4), 'spf.type = None is not registered'),
        (
            'feature_extractor',
            dict(type='EfficientNetExtractor', stage=0.0),
            'feature_extractor.stage must be a whole number, found 0.0',
        ),
        (
            'feature_extractor',
            dict(type='EfficientNetExtractor', stage=True),
            'feature_extractor.stage must be a whole number',
        ),
        ('spf', dict(type='SPFUnit', channels=0.5), 'spf.channels must be a whole number, found 0.5'),
        ('losses.sgr', dict(type='SGRLoss', region=845), 'losses.sgr.region must be True or False, found 845'),
        ('losses.sgr', dict(type='SGRLoss', min_area=NAN), 'losses.sgr.min_area must be a finite number, found nan'),
        (
            'losses.spd',
            dict(type='SPDLoss', pixel_loss='L1'),
            "losses.spd.pixel_loss must be a dict or None, found 'L1'",
        ),
        ('schedule', dict(type='JointSchedule', begin='0.1'), "schedule.begin must be a finite number, found '0.1'"),
        ('schedule', dict(type='JointSchedule', warmup=0), r"has keys \['warmup'\] that JointSchedule does not take"),
    ],
)
def test_another_kind_is_refused_with_its_key(key, given, message):
    with pytest.raises(ValueError, match=f'^model.spd.{"" if "has keys" not in message else key + " "}{message}'):
        check_arguments(key, given)


def test_what_a_part_takes_passes(monkeypatch):
    class Free:
        """A user's part: arguments without a kind, of a kind of its own, and any others."""

        def __init__(self, plain, path: Path, size: Optional[tuple] = None, **others):
            pass

    monkeypatch.setitem(MODELS._module_dict, 'Free', Free)
    check_arguments('losses.sgr', dict(type='Free', plain=NAN, path='x', size=3, another=None))
    check_arguments('losses.sgr', dict(type='SGRLoss', loss_weight=1, min_area=0, _scope_='mmagic'))
    check_arguments('losses.spd', dict(type='SPDLoss', pixel_loss=dict(type='L1Loss')))
    check_arguments('masks', dict(type='NoMasks'))


@pytest.mark.parametrize('config', sorted((ROOT / 'configs' / 'spd').glob('*.py')), ids=lambda path: path.stem)
def test_our_own_configs_pass(config):
    spd = Config.fromfile(config).model.spd
    parts = {**spd, **{f'losses.{name}': loss for name, loss in spd.losses.items()}}
    for key in ('spf', 'feature_extractor', 'losses.sgr', 'losses.spd', 'schedule', 'masks'):
        if parts[key]:
            check_arguments(key, parts[key])


@pytest.mark.parametrize(
    'option, message',
    [
        ('spf.channels', 'spd.spf.channels must be at least 1, found 0'),
        ('losses.sgr.min_area', 'spd.losses.sgr.min_area must be at least 0, found -1'),
    ],
)
def test_sizes_that_leave_nothing_are_refused(option, message):
    cfg = Config.fromfile(ROOT / 'configs' / 'spd' / 'nafnet_denoise-tiny.py')
    cfg.merge_from_dict({f'model.spd.{option}': int(message.split()[-1])})
    with pytest.raises(ValueError, match=message):
        check_training(cfg)


@pytest.mark.slow
def test_the_real_command_says_so(tmp_path):
    config = ROOT / 'configs' / 'spd' / 'nafnet_denoise-tiny.py'
    done = run_as_process(
        ['tools/train.py', config, '--cfg-options', 'model.spd.losses.sgr.min_area=wide'], cwd=tmp_path
    )
    assert done.returncode == 1 and 'Traceback' not in done.stderr
    assert "model.spd.losses.sgr.min_area must be a finite number, found 'wide'" in done.stderr

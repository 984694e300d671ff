"""What testing makes of a training config, before anything is built."""

from pathlib import Path

import pytest
from mmengine.config import Config

from mmsampriors.engine.testing import config_for_testing

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize('refined', [False, True])
def test_no_hook_of_ours_is_left_whatever_its_settings(tmp_path, refined):
    cfg = Config.fromfile(ROOT / 'configs' / 'spd' / 'nafnet_derain-tiny.py')
    ours = [hook for hook in cfg.custom_hooks if str(hook['type']).startswith('mmsampriors.')]
    for hook in ours:
        if hook['type'].endswith('.SPDScheduleHook'):
            hook['interval'] = 50
    assert any(hook.get('interval') == 50 for hook in ours)
    others = [hook for hook in cfg.custom_hooks if hook not in ours] + [dict(type='EmptyCacheHook', after_epoch=True)]
    cfg.custom_hooks = [*ours, *others]
    cfg.work_dir = str(tmp_path)
    assert config_for_testing(cfg, refined).custom_hooks == others

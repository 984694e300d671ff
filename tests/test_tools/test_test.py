"""What tools/test.py makes of a training config, before any process starts."""

import importlib.util
from pathlib import Path

import pytest
from mmengine.config import Config

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope='module')
def tool():
    spec = importlib.util.spec_from_file_location('tools_test', ROOT / 'tools' / 'test.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize('refined', [False, True])
def test_no_hook_of_ours_is_left_whatever_its_settings(tool, tmp_path, refined):
    cfg = Config.fromfile(ROOT / 'configs' / 'spd' / 'nafnet_derain-tiny.py')
    ours = [hook for hook in cfg.custom_hooks if str(hook['type']).startswith('mmsampriors.')]
    for hook in ours:
        if hook['type'].endswith('.SPDScheduleHook'):
            hook['interval'] = 50
    assert any(hook.get('interval') == 50 for hook in ours)
    cfg.custom_hooks = [*cfg.custom_hooks, dict(type='EmptyCacheHook', after_epoch=True)]
    cfg.work_dir = str(tmp_path)
    left = tool.config_of(cfg, refined).custom_hooks
    assert left == [hook for hook in cfg.custom_hooks if hook not in ours]
    assert dict(type='EmptyCacheHook', after_epoch=True) in left

"""One more base adds photographs without ground truth to the batches, whatever is inherited."""

import re
from pathlib import Path

import pytest
from mmengine.config import Config

from mmsampriors.checks.config_check import check_config, check_training
from mmsampriors.registry import TASK_UTILS, build_part

CHILD = """
_base_ = ['{base}', 'mmsampriors::_base_/{spd}', 'mmsampriors::_base_/spd_unlabeled.py']
model = dict(type='mmsampriors.SPDModel', spd=_base_.spd)
custom_hooks = _base_.get('custom_hooks', []) + _base_.spd_hooks + _base_.spd_unlabeled_hooks
custom_hooks[-1].update(folders=['data/my_rain'], per_pair=0.25)
model['spd']['losses']['spd'].update(loss_weight=1.0)
"""


BASES = (
    'mmagic::nafnet/nafnet_c64eb11128mb1db1111_8xb8-lr1e-3-400k_gopro.py',
    "mmsampriors::_base_/schedules/tiny.py', 'mmsampriors::_base_/models/dncnn_tiny.py",
)


@pytest.mark.parametrize('spd', ['spd.py', 'spd_sam.py'])
@pytest.mark.parametrize('base', BASES)
def test_any_config_gains_it_by_one_more_base(base, spd, tmp_path):
    (tmp_path / 'mine.py').write_text(CHILD.format(base=base, spd=spd))
    cfg = Config.fromfile(tmp_path / 'mine.py')
    check_config(cfg)
    check_training(cfg)
    hook = cfg.custom_hooks[-1]
    assert hook.type == 'mmsampriors.UnlabeledHook' and hook.masks is None
    assert (hook.folders, hook.per_pair, cfg.model.spd.losses.spd.loss_weight) == (['data/my_rain'], 0.25, 1.0)


def test_the_page_shows_a_config_for_a_finished_network(tmp_path):
    page = (Path(__file__).parents[2] / 'docs' / 'unlabeled.md').read_text()
    (tmp_path / 'my_config.py').write_text(
        "_base_ = ['mmsampriors::_base_/schedules/tiny.py', 'mmsampriors::_base_/models/dncnn_tiny.py', "
        "'mmsampriors::_base_/spd.py']\n"
        "model = dict(type='mmsampriors.SPDModel', spd=_base_.spd)\n"
        'custom_hooks = _base_.spd_hooks\n'
    )
    (tmp_path / 'shown.py').write_text(re.search('```python\n(.*?)```', page, re.DOTALL)[1])
    (tmp_path / 'student.pth').touch()
    cfg = Config.fromfile(tmp_path / 'shown.py')
    check_config(cfg)
    check_training(cfg)
    schedule = build_part(TASK_UTILS, cfg.model.spd.schedule)
    names = [schedule.phase(iteration, cfg.train_cfg.max_iters).name for iteration in (0, 4_999, 5_000, 14_999)]
    assert names == ['refiner', 'refiner', 'student', 'student']
    assert [hook.type for hook in cfg.custom_hooks][-2:] == [
        'mmsampriors.UnlabeledHook',
        'mmsampriors.BlendStudentHook',
    ]

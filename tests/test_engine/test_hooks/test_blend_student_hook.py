import pytest
import torch
from mmengine.config import Config
from mmengine.runner import Runner

from mmsampriors.engine.hooks import BlendStudentHook

BLEND = dict(type='mmsampriors.BlendStudentHook', end_weight=0.25)
TWO_STAGE = dict(type='TwoStageSchedule', refiner=0.5)


def trained(runner_cfg, tmp_path, name, *hooks, schedule=TWO_STAGE):
    cfg = runner_cfg(schedule=schedule, hooks=[dict(type='mmsampriors.ExactResumeHook'), *hooks])
    cfg.update(work_dir=str(tmp_path / name))
    cfg['default_hooks']['checkpoint'].update(interval=2)
    runner = Runner.from_cfg(Config(cfg))
    runner.train()
    return runner, [
        torch.load(tmp_path / name / f'iter_{iters}.pth', weights_only=False)['state_dict'] for iters in (2, 4)
    ]


def test_the_last_checkpoint_has_the_mean_and_those_before_have_not(runner_cfg, tmp_path):
    _, (middle, alone) = trained(runner_cfg, tmp_path, 'alone')
    runner, (before, last) = trained(runner_cfg, tmp_path, 'blended', BLEND)
    students = [name.removeprefix('generator.') for name in last if name.startswith('generator.')]
    moved = 0
    for name in students:
        first, own = alone[f'initial_student.{name}'], alone[f'generator.{name}']
        torch.testing.assert_close(last[f'generator.{name}'], 0.75 * first + 0.25 * own)
        torch.testing.assert_close(runner.model.state_dict()[f'generator.{name}'], last[f'generator.{name}'])
        moved += (first - own).abs().sum()
    assert moved > 0
    assert all(torch.equal(before[name], middle[name]) for name in middle)
    others = [name for name in last if not name.startswith('generator.')]
    assert all(torch.equal(last[name], alone[name]) for name in others)


def test_where_nothing_is_distilled_the_student_keeps_its_weights(runner_cfg, tmp_path):
    without = dict(type='WithoutDistillation', schedule=TWO_STAGE)
    _, (_, alone) = trained(runner_cfg, tmp_path, 'alone', schedule=without)
    _, (_, last) = trained(runner_cfg, tmp_path, 'blended', BLEND, schedule=without)
    assert all(torch.equal(last[name], alone[name]) for name in last)
    pairs = [(name, name.replace('generator.', 'initial_student.')) for name in last if name.startswith('generator.')]
    assert not all(torch.equal(last[own], last[first]) for own, first in pairs), 'and these have moved'


@pytest.mark.parametrize(
    ('changes', 'words'),
    [
        (dict(schedule=dict(type='JointSchedule')), 'this model keeps none'),
        (dict(schedule=dict(TWO_STAGE, warmup=0.25)), 'hardly trained: start from a finished student'),
        (dict(schedule=TWO_STAGE, hooks=[BLEND, dict(type='EMAHook', momentum=0.1)]), 'leave one out'),
    ],
)
def test_what_cannot_work_is_refused(runner_cfg, changes, words):
    runner = Runner.from_cfg(Config(runner_cfg(**{'hooks': [BLEND], **changes})))
    with pytest.raises(ValueError, match=words):
        runner.train()


@pytest.mark.parametrize('end_weight', [0, 1.5])
def test_the_weight_is_checked(end_weight):
    with pytest.raises(ValueError, match='end_weight must be in'):
        BlendStudentHook(end_weight=end_weight)

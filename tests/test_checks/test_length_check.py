"""Schedules, learning rates and patch sizes that suit another length of training."""

import copy
from contextlib import nullcontext

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mmengine.config import Config

from mmsampriors.checks import length_check
from mmsampriors.checks.length_check import check_length, refuse_empty_stages
from mmsampriors.models.schedules import JointSchedule, Phase, TwoStageSchedule, WithoutDistillation

COSINE = dict(type='CosineAnnealingLR', by_epoch=False, T_max=400, eta_min=1e-6)


@pytest.fixture
def said(monkeypatch):
    """What is warned of."""
    messages = []
    monkeypatch.setattr(length_check, 'warn', messages.append)
    return messages


def plain_training(max_iters, scheduler, sampler=None):
    return Config(
        dict(
            model=dict(type='BaseEditModel'),
            train_cfg=dict(max_iters=max_iters),
            optim_wrapper=dict(optimizer=dict(lr=1e-3)),
            param_scheduler=copy.deepcopy(scheduler),
            train_dataloader=dict(batch_sampler=sampler),
        )
    )


def test_a_training_of_years_is_refused():
    with pytest.raises(ValueError, match=r'max_iters is 400000000 .--accumulate multiplies it.: .* 463 days'):
        check_length(plain_training(400_000_000, COSINE))


@pytest.mark.parametrize(
    'change, message',
    [
        (dict(param_scheduler=[dict(type='ReduceOnPlateauLR')]), r'param_scheduler.0 \(ReduceOnPlateauLR\) would take'),
        (dict(default_hooks=dict(stop=dict(type='EarlyStoppingHook'))), r'default_hooks.stop \(EarlyStoppingHook\)'),
        (
            dict(custom_hooks=[dict(type='mmengine.EarlyStoppingHook')]),
            r'custom_hooks.0 \(mmengine.Early',
        ),
    ],
)
@pytest.mark.parametrize('length', [dict(max_iters=400), dict(max_epochs=3)])
def test_what_takes_a_frozen_student_for_the_end_of_a_training_is_refused(change, message, length):
    cfg = plain_training(400, COSINE)
    cfg.model = dict(type='mmsampriors.SPDModel', spd=dict(schedule=dict(type='TwoStageSchedule')))
    cfg.train_cfg = length
    cfg.merge_from_dict(change)
    with pytest.raises(ValueError, match=f'{message}.*JointSchedule'):
        check_length(cfg)
    cfg.model.spd.schedule.type = 'JointSchedule'
    check_length(cfg)


@pytest.mark.parametrize(
    'max_iters, scheduler, message',
    [
        (60, COSINE, 'ends at 0.00095 instead of 1e-06: set param_scheduler.T_max=60'),
        (600, COSINE, 'ends at 0.0005 instead of 1e-06: set param_scheduler.T_max=600'),
        (
            600,
            [dict(type='LinearLR', by_epoch=False, end=10), {**COSINE, 'begin': 10}],
            'set param_scheduler.1.T_max=590',
        ),
        (
            600,
            dict(type='CosineRestartLR', by_epoch=False, periods=[100, 200]),
            'param_scheduler.periods to add up to 600',
        ),
        (
            600,
            dict(type='OneCycleLR', by_epoch=False, eta_max=1e-3, total_steps=400),
            'laid out for 400 iterations, and train_cfg.max_iters is 600: set param_scheduler.total_steps=600',
        ),
        # Half a cosine each: it goes from its begin to its end only.
        (900, {**COSINE, 'begin': 100, 'end': 300}, 'ends at 0.0005 instead of 1e-06: set param_scheduler.T_max=800'),
        (200, {**COSINE, 'begin': 100, 'T_max': 200}, 'ends at 0.0005 instead of 1e-06: set param_scheduler.T_max=100'),
        # No length is right.
        (8, {**COSINE, 'begin': 92000}, 'begins at iteration 92000, and train_cfg.max_iters is 8, so that it never'),
        (8, {**COSINE, 'begin': 8}, 'lay out all of param_scheduler for 8 iterations'),
    ],
)
def test_rates_laid_out_for_another_length_are_reported(said, max_iters, scheduler, message):
    check_length(plain_training(max_iters, scheduler))
    assert len(said) == 1 and message in said[0], said


@pytest.mark.parametrize(
    'scheduler',
    [
        COSINE,
        None,
        [],
        {**COSINE, 'begin': 100, 'T_max': 300},
        dict(type='MultiStepLR', by_epoch=False, milestones=[10]),
    ],
)
def test_rates_that_end_with_the_training_pass(said, scheduler):
    check_length(plain_training(400, scheduler))
    assert not said


@pytest.mark.parametrize('iters, message', [([100, 500], 'never reached'), ([100, 200], 'goes on to the end')])
def test_patch_sizes_laid_out_for_another_length_are_reported(said, iters, message):
    check_length(plain_training(400, None, dict(type='mmsampriors.ProgressiveBatchSampler', iters=iters)))
    assert len(said) == 1 and message in said[0]


@pytest.mark.parametrize(
    'schedule, max_iters, window, message',
    [
        (TwoStageSchedule(warmup=0.125), 1, 1, 'in none of the 1 iterations would the student learn'),
        (JointSchedule(), 1, 1, 'in none of the 1 iterations would the student learn'),
        (TwoStageSchedule(refiner=0.1), 4, 1, "the refiner's stage, 0.1 of 4 iterations, is shorter than an iteration"),
        (TwoStageSchedule(warmup=0.25, refiner=0.25), 8, 8, 'is shorter than a step of 8 iterations'),
        (TwoStageSchedule(refiner=0.5), 8, 8, 'the stage of distillation is shorter than a step of 8'),
    ],
)
def test_a_training_too_short_for_its_stages_is_refused(schedule, max_iters, window, message):
    with pytest.raises(ValueError, match=message):
        refuse_empty_stages(schedule, max_iters, window)


@pytest.mark.parametrize(
    'schedule, max_iters',
    [
        (TwoStageSchedule(refiner=1), 1),
        (TwoStageSchedule(warmup=0.5, refiner=0.5), 2),
        (JointSchedule(0, 0), 1),
        (WithoutDistillation(dict(type='TwoStageSchedule', refiner=0.5)), 2),
        (WithoutDistillation(dict(type='JointSchedule')), 8),
    ],
)
def test_stages_that_are_meant_to_be_alone_pass(schedule, max_iters):
    refuse_empty_stages(schedule, max_iters)


class Listed:
    """A user's schedule: the phase of each iteration from a list. Counts how often it is asked."""

    def __init__(self, phases):
        self.phases, self.asked = phases, 0

    def phase(self, iteration, max_iters):
        self.asked += 1
        return self.phases[iteration]


PHASES = dict(warmup=Phase(True, False, 0.0), refiner=Phase(False, True, 0.0), student=Phase(True, False, 1.0))


@given(
    st.lists(st.tuples(st.sampled_from(sorted(PHASES)), st.sampled_from([1, 2, 700, 1500])), min_size=1, max_size=5),
    st.integers(1, 3),
)
@settings(deadline=None)
def test_every_iteration_is_looked_at(stages, window):
    """The reference goes through all steps in their order."""
    phases = [PHASES[name] for name, count in stages for _ in range(count)]
    steps = phases[::window]
    right = any(phase.refiner for phase in steps) and any(phase.student and phase.ramp for phase in steps)
    with nullcontext() if right else pytest.raises(ValueError):
        refuse_empty_stages(Listed(phases), len(phases), window)


def test_a_million_iterations_are_checked_in_no_time():
    schedule = Listed([PHASES[name] for name in ('warmup', 'refiner', 'student') for _ in range(400_000)])
    refuse_empty_stages(schedule, 1_200_000)
    assert schedule.asked < 2000

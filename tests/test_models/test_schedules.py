import pytest

from mmsampriors.models import JointSchedule, Phase, TwoStageSchedule
from mmsampriors.registry import TASK_UTILS, build_part


def test_joint_trains_both_all_the_time_and_ramps_from_begin_to_end():
    phases = [JointSchedule(begin=0.2, end=0.4).phase(iteration, 10) for iteration in range(10)]
    assert [phase.name for phase in phases] == ['joint'] * 10
    assert [phase.ramp for phase in phases] == pytest.approx([0, 0, 0, 0.5, 1, 1, 1, 1, 1, 1])


@pytest.mark.parametrize('at, ramps', [(0.0, [1, 1, 1, 1]), (0.5, [0, 0, 1, 1]), (1.0, [0, 0, 0, 0])])
def test_joint_without_a_ramp_switches(at, ramps):
    assert [JointSchedule(begin=at, end=at).phase(iteration, 4).ramp for iteration in range(4)] == ramps


def test_joint_ramp_never_leaves_0_to_1_nor_falls():
    for begin, end in ((0.0, 0.3), (0.1, 1.0), (0.0, 1.0), (0.7, 0.7)):
        ramps = [JointSchedule(begin=begin, end=end).phase(iteration, 37).ramp for iteration in range(60)]
        assert min(ramps) >= 0 and max(ramps) <= 1 and ramps == sorted(ramps)


def test_two_stage_trains_the_refiner_first_and_then_the_student():
    phases = [TwoStageSchedule(refiner=0.25).phase(iteration, 8) for iteration in range(8)]
    assert [phase.name for phase in phases] == ['refiner'] * 2 + ['student'] * 6
    assert phases[0] == Phase(student=False, refiner=True, ramp=0.0)
    assert phases[-1] == Phase(student=True, refiner=False, ramp=1.0)


def test_two_stage_warms_the_student_up_where_it_should():
    phases = [TwoStageSchedule(refiner=0.5, warmup=0.25).phase(iteration, 8) for iteration in range(8)]
    assert [phase.name for phase in phases] == ['warmup'] * 2 + ['refiner'] * 4 + ['student'] * 2
    assert phases[0] == Phase(student=True, refiner=False, ramp=0.0)


def test_two_stage_may_train_the_refiner_alone():
    phases = [TwoStageSchedule(refiner=1).phase(iteration, 5).name for iteration in range(5)]
    assert phases == ['refiner'] * 5


@pytest.mark.parametrize(
    'schedule, message',
    [
        (lambda: JointSchedule(begin=0.5, end=0.1), 'begin=0.5, end=0.1'),
        (lambda: JointSchedule(begin=-0.1, end=0.1), 'begin=-0.1'),
        (lambda: JointSchedule(begin=0.1, end=1.1), 'end=1.1'),
        (lambda: TwoStageSchedule(refiner=0), 'refiner=0'),
        (lambda: TwoStageSchedule(refiner=1.1), 'refiner=1.1'),
        (lambda: TwoStageSchedule(refiner=0.5, warmup=0.6), 'refiner=0.5, warmup=0.6'),
        (lambda: TwoStageSchedule(refiner=0.5, warmup=-0.1), 'warmup=-0.1'),
    ],
)
def test_impossible_shares_are_refused(schedule, message):
    with pytest.raises(ValueError, match=message):
        schedule()


def test_are_in_mmagics_registry():
    assert build_part(TASK_UTILS, dict(type='TwoStageSchedule', refiner=0.3)).refiner == 0.3
    assert build_part(TASK_UTILS, dict(type='JointSchedule')).phase(0, 10).ramp == 0

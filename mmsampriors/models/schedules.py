"""When what trains: the two schedules of METHOD.md [ours]."""
from dataclasses import dataclass

from mmagic.registry import TASK_UTILS


@dataclass(frozen=True)
class Phase:
    """What one iteration trains.

    Args:
        student (bool): Whether the student trains.
        refiner (bool): Whether SPF unit and refiner train.
        ramp (float): In [0, 1], the factor of λ1 and λ2.
    """

    student: bool
    refiner: bool
    ramp: float

    @property
    def name(self) -> str:
        """``joint``, ``refiner`` or ``student``."""
        return 'joint' if self.student and self.refiner else 'student' if self.student else 'refiner'


@TASK_UTILS.register_module()
class JointSchedule:
    """Every step trains student and refiner; distillation ramps up, for an untrained refiner teaches nothing.

    Args:
        begin (float): Share of the iterations, in [0, 1], after which distillation sets in.
        end (float): Share of the iterations, in [begin, 1], after which it has its full weight.
    """

    def __init__(self, begin: float = 0.1, end: float = 0.3):
        if not 0 <= begin <= end <= 1:
            raise ValueError(f'spd.schedule needs 0 <= begin <= end <= 1, found begin={begin}, end={end}')
        self.begin, self.end = begin, end

    def phase(self, iteration: int, max_iters: int) -> Phase:
        """The phase of an iteration, counted from 0."""
        done = iteration / max_iters
        ramp = float(done >= self.begin) if self.end == self.begin else (done - self.begin) / (self.end - self.begin)
        return Phase(student=True, refiner=True, ramp=min(max(ramp, 0.), 1.))


@TASK_UTILS.register_module()
class TwoStageSchedule:
    """First SPF unit and refiner over a frozen student, then the student under a frozen refiner.

    The student should be a trained one (``load_from``).

    Args:
        refiner (float): Share of the iterations, in (0, 1), that the first stage takes.
    """

    def __init__(self, refiner: float = 0.5):
        if not 0 < refiner < 1:
            raise ValueError(f'spd.schedule.refiner must be in (0, 1), found {refiner}')
        self.refiner = refiner

    def phase(self, iteration: int, max_iters: int) -> Phase:
        """The phase of an iteration, counted from 0."""
        first = iteration < round(self.refiner * max_iters)
        return Phase(student=not first, refiner=first, ramp=float(not first))

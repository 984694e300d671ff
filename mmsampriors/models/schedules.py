"""When what trains: the two schedules of docs/how_it_works.md [ours].

A schedule of your own has ``phase`` and says in ``freezes_refiner`` whether a phase distils from a frozen refiner, for
which the model then keeps the student that the refiner was trained on.
"""

from dataclasses import dataclass, replace

from mmsampriors.registry import TASK_UTILS, build_part

#: Names of the stages, by the number under which they are logged.
STAGES = ('joint', 'refiner', 'student', 'warmup')


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
    def distils_from_frozen(self) -> bool:
        """Whether the student learns from a refiner that stays as it is."""
        return bool(self.ramp) and not self.refiner

    @property
    def name(self) -> str:
        """``joint``, ``refiner``, ``student``, or ``warmup`` where the student trains as if there were no SPD."""
        if self.student and self.refiner:
            return 'joint'
        return 'refiner' if self.refiner else 'student' if self.ramp else 'warmup'


@TASK_UTILS.register_module()
class JointSchedule:
    """Every step trains student and refiner; distillation ramps up, for an untrained refiner teaches nothing.

    Args:
        begin (float): Share of the iterations, in [0, 1], after which distillation sets in.
        end (float): Share of the iterations, in [begin, 1], after which it has its full weight.
    """

    freezes_refiner = False

    def __init__(self, begin: float = 0.1, end: float = 0.3):
        if not 0 <= begin <= end <= 1:
            raise ValueError(f'spd.schedule needs 0 <= begin <= end <= 1, found begin={begin}, end={end}')
        self.begin, self.end = begin, end

    def phase(self, iteration: int, max_iters: int) -> Phase:
        """The phase of an iteration, counted from 0."""
        done = iteration / max_iters
        ramp = float(done >= self.begin) if self.end == self.begin else (done - self.begin) / (self.end - self.begin)
        return Phase(student=True, refiner=True, ramp=min(max(ramp, 0.0), 1.0))


@TASK_UTILS.register_module()
class TwoStageSchedule:
    """First SPF unit and refiner over a frozen student, then the student under a frozen refiner.

    Args:
        refiner (float): Share of the iterations, in (0, 1], that the refiner's stage takes. 1 trains the refiner and
            nothing else.
        warmup (float): Share of the iterations, in [0, 1 - refiner], that come before: the student trains as it would
            without SPD. 0 is for a student that is trained already (``load_from``).
    """

    freezes_refiner = True

    def __init__(self, refiner: float = 0.5, warmup: float = 0.0):
        if not (0 < refiner <= 1 and 0 <= warmup <= 1 - refiner):
            raise ValueError(
                'spd.schedule needs refiner in (0, 1], warmup in [0, 1) and their sum at most 1, found '
                f'refiner={refiner}, warmup={warmup}'
            )
        self.refiner, self.warmup = refiner, warmup

    def phase(self, iteration: int, max_iters: int) -> Phase:
        """The phase of an iteration, counted from 0."""
        begin, end = (round(share * max_iters) for share in (self.warmup, self.warmup + self.refiner))
        if iteration < begin:
            return Phase(student=True, refiner=False, ramp=0.0)
        first = iteration < end
        return Phase(student=not first, refiner=first, ramp=float(not first))


@TASK_UTILS.register_module()
class WithoutDistillation:
    """Another schedule, in which nothing is distilled: plain training, for comparisons with that schedule [ours].

    The student trains in the same iterations, and so at the same learning rates and on the same patches. A stage of the
    refiner alone stays what it is, to no end; where both train together the student trains alone.

    Args:
        schedule (dict): Config of the other schedule.
    """

    def __init__(self, schedule: dict):
        self.schedule = build_part(TASK_UTILS, schedule)
        self.freezes_refiner = self.schedule.freezes_refiner

    def phase(self, iteration: int, max_iters: int) -> Phase:
        """The phase of an iteration, counted from 0."""
        phase = self.schedule.phase(iteration, max_iters)
        return replace(phase, refiner=phase.refiner and not phase.student, ramp=0.0)

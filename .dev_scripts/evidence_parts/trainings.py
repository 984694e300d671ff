"""Which trainings there are, and in which order."""

from dataclasses import dataclass, field, replace
from itertools import product
from typing import List, Tuple

from .presets import DEGRADATIONS, Preset
from .rows import TRAINING

STUDENTS = ('plain', 'plain_restarted', 'self', 'spd', 'plain_same_time')
#: End of a source of masks that segments what the student at the start restores, and not the ground truth.
RESTORED = '_restored'


@dataclass(frozen=True)
class Training:
    """One training of the table.

    Args:
        preset (Preset): Its sizes.
        task (str): One of ``DEGRADATIONS``.
        trained_on (str): The degradation.
        model (str): One of the preset's generators.
        seed (int): Of weights, order and patches.
        student (str): One of ``STUDENTS``. ``plain_restarted`` is two stages' last stage, from the same start and at
            the same learning rates, with nothing distilled; ``refiner`` a refiner alone, over the frozen plain student.
        updates (int): Student updates that are compared.
        masks (str): Where the masks come from; ``none`` for none.
        schedule (str): ``joint`` or ``two_stage``; empty for ``plain`` and ``refiner``.
        variant (str): Name of what ``overrides`` make of the method; empty for the defaults.
        overrides (tuple): Pairs of a dotted key below ``model.spd`` and its value.
        scale (float): Factor of the updates, for plain training at the same cost.
        unlabeled (str): The degradation of the photographs without ground truth; empty for none.
    """

    preset: Preset
    task: str
    trained_on: str
    model: str
    seed: int
    student: str
    updates: int
    masks: str = 'none'
    schedule: str = ''
    variant: str = ''
    overrides: Tuple[Tuple[str, object], ...] = field(default=(), compare=False)
    scale: float = 1.0
    unlabeled: str = ''

    @property
    def scale_factor(self) -> int:
        """How many times larger than its input the student's image is."""
        return DEGRADATIONS[self.task][self.trained_on][1].multiple

    @property
    def name(self) -> str:
        """Name of its folder."""
        parts = [self.preset.name, self.model, self.task, self.trained_on, str(self.updates), self.student]
        parts += [self.masks] if self.masks != 'none' else []
        parts += [self.schedule] if self.schedule == 'two_stage' else []
        parts += [f'unlabeled_{self.unlabeled}'] if self.unlabeled else []
        parts += [self.variant] if self.variant else []
        return '-'.join([*parts, f'seed{self.seed}'])

    @property
    def distils(self) -> bool:
        """Whether it is a training of an SPDModel."""
        return self.student in ('self', 'spd', 'refiner')

    @property
    def learns_unlabeled(self) -> bool:
        """Whether photographs without ground truth are added to its batches."""
        return bool(self.unlabeled) and self.student in ('self', 'spd')

    @property
    def segments_restored(self) -> bool:
        """Whether its masks are those of restored images."""
        return self.masks.endswith(RESTORED)

    @property
    def masks_name(self) -> str:
        """Name of the folder of its masks. Those of the ground truth are the same for all tasks and seeds."""
        return f'{self.masks}-{self.plain().name}-{self.first}' if self.segments_restored else self.masks

    @property
    def two_stage(self) -> bool:
        """Whether it starts from a plain student and trains the refiner first."""
        return self.restarts and self.distils

    @property
    def restarts(self) -> bool:
        """Whether plain training is broken off and taken up again with a learning-rate schedule of its own."""
        students = ('plain_restarted', 'self', 'spd', *(('plain_same_time',) if self.preset.more else ()))
        return self.schedule == 'two_stage' and self.student in students

    @property
    def refiner_iters(self) -> int:
        """Iterations that train the refiner alone."""
        return round(self.preset.refiner * self.updates) if self.two_stage or self.student == 'refiner' else 0

    @property
    def first(self) -> int:
        """Updates of the plain training that it starts from; 0: from scratch."""
        if self.student == 'refiner':
            return self.updates
        return round(self.preset.start * self.updates) if self.restarts else 0

    @property
    def student_iters(self) -> int:
        """Iterations of its own run that train the student."""
        more = self.preset.more if self.restarts else 0.0
        return round((self.updates * (1 + more) - self.first) * self.scale)

    @property
    def iters(self) -> int:
        """Iterations of its own run."""
        return self.refiner_iters + self.student_iters

    def distilled(self) -> 'Training':
        """What plain training for the same time is the baseline of."""
        return replace(self, student='self' if self.masks == 'none' else 'spd', scale=1.0)

    @property
    def total_iters(self) -> int:
        """Iterations of all stages."""
        return self.first + self.iters

    def plain(self) -> 'Training':
        """Plain training of the same network, data and seed."""
        return Training(self.preset, self.task, self.trained_on, self.model, self.seed, 'plain', self.updates)

    def identity(self) -> dict:
        """What distinguishes its rows."""
        return {name: getattr(self, name) for name in TRAINING} | dict(preset=self.preset.name)


def plan(base: Training, *, tasks: dict, models, seeds, students, masks, updates=None) -> List[Training]:
    """All trainings, in the order of ``models`` and ``tasks``, and each after the one that it starts from.

    Plain training at the same cost comes last: it has to wait for a timing.

    Args:
        base (Training): Preset, schedule, variant and overrides count.
        tasks (dict[str, str]): Task to the degradation that is trained on.
        models, seeds, students, masks (list): What is combined.
        updates (int, optional): Instead of the preset's.
    """
    trainings = []
    for late in (False, True):
        for model, task in product(models, tasks):
            cell = []
            for seed in seeds:
                plain = replace(
                    base,
                    task=task,
                    trained_on=tasks[task],
                    model=model,
                    seed=seed,
                    student='plain',
                    updates=updates or base.preset.updates[model],
                    schedule='',
                    variant='',
                    overrides=(),
                    unlabeled='',
                )
                cell += [
                    one
                    for student in students
                    if (student == 'plain_same_time') is late
                    for one in _of_student(plain, student, base, masks)
                ]
            # What starts from another comes after the others: side by side it would only wait.
            trainings += sorted(cell, key=lambda one: one.first > 0)
    return list(dict.fromkeys(trainings))


def _of_student(plain, student, base, masks):
    method = dict(student=student, variant=base.variant, overrides=base.overrides, unlabeled=base.unlabeled)
    if student == 'plain':
        return [plain]
    if student == 'self':
        found = [replace(plain, schedule=base.schedule, **method)]
    elif student == 'plain_restarted':
        found = [replace(plain, student=student, schedule=base.schedule)]
    elif student == 'refiner':
        found = [replace(plain, masks=name, **{**method, 'unlabeled': ''}) for name in masks]
    else:
        wanted = [name for name in masks if name != 'none'] if student == 'spd' else masks[:1]
        # Plain training for the same time is the baseline of the first source of masks.
        found = [replace(plain, masks=name, schedule=base.schedule, **method) for name in wanted]
    return ([plain] if any(one.first for one in found) else []) + found

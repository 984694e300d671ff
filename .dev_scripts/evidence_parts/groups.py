"""Rows of all seeds together, and what one group of them is above another."""

from dataclasses import dataclass
from typing import Dict, List, Optional

import numpy as np

from mmsampriors.reports import Interval, bootstrap, paired_t

from .rows import OLDER

#: What rows must share to be compared.
CELL = ('preset', 'updates', 'test_on', 'model', 'task', 'trained_on', 'test_set')
METHOD = ('student', 'masks', 'schedule', 'variant', 'unlabeled')
#: Full SPD with the defaults of configs/_base_/spd.py, which ablations are compared with.
DEFAULT = ('spd', 'felzenszwalb', 'two_stage', '', '')


@dataclass
class Group:
    """The rows of one method in one cell, by seed.

    Args:
        cell (tuple): Values of ``CELL``.
        method (tuple): Values of ``METHOD``.
        rows (dict[int, dict]): Seed to row.
    """

    cell: tuple
    method: tuple
    rows: Dict[int, dict]

    @property
    def named_cell(self) -> dict:
        """The cell's values by their names."""
        return dict(zip(CELL, self.cell))

    @property
    def student(self) -> str:
        """``refiner``, or one of ``trainings.STUDENTS``."""
        return self.method[0]

    @property
    def title(self) -> str:
        """Student, masks, schedule, variant and photographs without ground truth in words."""
        student, masks, *others, unlabeled = self.method
        others.append(f'unlabeled {unlabeled}' if unlabeled else '')
        masks = masks if student in ('spd', 'refiner', 'plain_same_time') else ''
        return ', '.join(filter(None, [student, masks, *others]))

    def values(self, name: str) -> List[float]:
        """What was measured, one a seed; empty where a row lacks it."""
        values = [row.get(name) for row in self.rows.values()]
        return [] if None in values else values


def groups_of(rows: List[dict]) -> List[Group]:
    """Rows by cell and method, in the order of the rows."""
    found = {}
    for row in rows:
        cell, method = (tuple({**OLDER, **row}[name] for name in names) for names in (CELL, METHOD))
        found.setdefault((cell, method), {})[row['seed']] = row
    return [Group(cell, method, dict(sorted(seeds.items()))) for (cell, method), seeds in found.items()]


def baseline_of(group: Group, groups: List[Group], student: str) -> Optional[Group]:
    """What a group is compared with in its cell, None where it is not there.

    Args:
        group (Group): That of a student, or of a refiner.
        groups (list[Group]): All.
        student (str): ``plain``; ``plain_restarted``, of the same schedule; ``plain_same_time``, of the same method;
            ``self``, of the same schedule, variant and photographs; ``labelled``, the same without photographs that
            have no ground truth; ``refiner``, without masks; ``spd``, with the defaults.
    """
    methods = dict(
        plain=('plain', 'none', '', '', ''),
        plain_restarted=('plain_restarted', 'none', group.method[2], '', ''),
        labelled=(*group.method[:4], ''),
        plain_same_time=('plain_same_time', *group.method[1:]),
        self=('self', 'none', *group.method[2:]),
        spd=DEFAULT,
        refiner=('refiner', 'none', '', group.method[3], ''),
    )
    found = (one for one in groups if (one.cell, one.method) == (group.cell, methods[student]) and one is not group)
    return next(found, None)


def by_seed(group: Group, baseline: Group, name: str = 'psnr') -> Optional[Interval]:
    """Interval of the differences of the seeds that both have."""
    pairs = [
        (row.get(name), baseline.rows[seed].get(name)) for seed, row in group.rows.items() if seed in baseline.rows
    ]
    differences = [value - other for value, other in pairs if value is not None and other is not None]
    return paired_t(differences) if differences else None


def by_image(group: Group, baseline: Group, name: str = 'images') -> Dict[str, float]:
    """Image to the mean over the common seeds of its difference in dB."""
    gains = {}
    for seed in group.rows:
        values, others = (one.rows.get(seed, {}).get(name) or {} for one in (group, baseline))
        for image in values.keys() & others.keys():
            gains.setdefault(image, []).append(values[image] - others[image])
    return {image: float(np.mean(values)) for image, values in sorted(gains.items())}


def over_images(group: Group, baseline: Group, name: str = 'images') -> Optional[Interval]:
    """Bootstrap interval over the images."""
    gains = by_image(group, baseline, name)
    return bootstrap(list(gains.values())) if gains else None

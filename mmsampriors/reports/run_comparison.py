"""Several runs side by side: groups of seeds, means, standard deviations and differences to the first group."""

import os.path as osp
import re
import statistics
from typing import Dict, List, NamedTuple, Optional, Tuple

from .results import load_results
from .tables import Interval, Measure, paired_t

SEEDED = re.compile(r'(?:(?P<group>.+)[-_.])?(?:seed[-_]?|s)(?P<seed>\d+)')


class Run(NamedTuple):
    """One run and what was measured of it.

    Attributes:
        work_dir (str): Its work folder.
        group (str): What it is one seed of.
        seed (str, optional): The number that its name ends with.
        values (dict[Measure, float]): What was measured.
    """

    work_dir: str
    group: str
    seed: Optional[str]
    values: Dict[Measure, float]


class Level(NamedTuple):
    """Mean and standard deviation (of n - 1; None for a single value)."""

    mean: float
    std: Optional[float]

    @classmethod
    def of(cls, values: List[float]) -> 'Level':
        """Of the values of several runs."""
        return cls(statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None)


class Cell(NamedTuple):
    """A measure of a group of runs.

    Attributes:
        test_set, metric, group (str): What was measured, of which runs.
        values (list[float]): One a run.
        level (Level): Over the runs.
        difference (Interval, optional): To the first group, where this is not the first. Its limits are those of the
            differences between runs of the same seed; None where the two groups have not the same seeds.
    """

    test_set: str
    metric: str
    group: str
    values: List[float]
    level: Level
    difference: Optional[Interval]


def name_of(work_dir: str) -> Tuple[str, Optional[str]]:
    """Group and seed by a work folder's name: ``spd_seed1``, ``spd-s1`` and ``spd/seed1`` are seed 1 of ``spd``."""
    path = osp.abspath(work_dir)
    parent, name = osp.basename(osp.dirname(path)), osp.basename(path)
    found = SEEDED.fullmatch(name)
    return (found['group'] or parent, found['seed']) if found else (name, None)


def read_tested(work_dir: str) -> Dict[Measure, float]:
    """What ``tools/test.py`` measured; the sets of refined images are marked so."""
    return {
        (test_set if image == 'student' else f'{test_set} ({image})', metric): value
        for image, sets in load_results(work_dir).items()
        for test_set, values in sets.items()
        for metric, value in values.items()
    }


def gather(groups: List[Tuple[str, Optional[str], str]], read) -> List[Run]:
    """Reads the runs, and says at once which of them have nothing to read.

    Args:
        groups (list[tuple]): Group, seed and work folder of each run.
        read (callable): Work folder to values.

    Raises:
        FileNotFoundError: Some have no results; ValueError: one is named twice.
    """
    runs, missing = [], []
    for group, seed, work_dir in groups:
        if any(osp.abspath(work_dir) == osp.abspath(run.work_dir) and group == run.group for run in runs):
            raise ValueError(f'{work_dir} is named twice')
        try:
            if not osp.isdir(work_dir):
                raise FileNotFoundError(f'there is no folder {work_dir}')
            runs.append(Run(work_dir, group, seed, read(work_dir)))
        except FileNotFoundError as error:
            missing.append(str(error))
    if missing:
        raise FileNotFoundError('\n'.join(missing))
    return runs


def compare_runs(runs: List[Run]) -> Tuple[List[Cell], List[Measure]]:
    """Means, deviations and differences of all measures that every run has.

    Args:
        runs (list[Run]): At least one; the group of the first is what the others are compared with.

    Returns:
        tuple: The cells, by measure and group in the order of the runs, and the measures that some runs lack.

    Raises:
        ValueError: There is no measure that all runs have.
    """
    every = list(dict.fromkeys(measure for run in runs for measure in run.values))
    common = [measure for measure in every if all(measure in run.values for run in runs)]
    if not common:
        raise ValueError(
            'the runs have no measure in common:\n'
            + '\n'.join(f'  {run.work_dir}: {", ".join(map(" ".join, run.values))}' for run in runs)
        )
    groups = {}
    for run in runs:
        groups.setdefault(run.group, []).append(run)
    first = next(iter(groups.values()))
    cells = [
        Cell(
            *measure,
            group,
            [run.values[measure] for run in members],
            Level.of([run.values[measure] for run in members]),
            None if members is first else difference(members, first, measure),
        )
        for measure in common
        for group, members in groups.items()
    ]
    return cells, [measure for measure in every if measure not in common]


def difference(values: List[Run], reference: List[Run], measure: Measure) -> Interval:
    """How far a group lies above another; with limits where their runs pair up by seed."""
    mine, other = ({run.seed: run.values[measure] for run in runs} for runs in (values, reference))
    if len(mine) == len(values) > 1 and mine.keys() == other.keys() and len(other) == len(reference):
        return paired_t([mine[seed] - other[seed] for seed in mine])
    means = [statistics.fmean(run.values[measure] for run in runs) for runs in (values, reference)]
    return Interval(means[0] - means[1])

"""Numbers of runs: reading them, statistics over seeds, and tables."""

import csv
import glob
import io
import json
import os.path as osp
from typing import Dict, Iterator, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np
from scipy import stats

DIGITS = dict(PSNR=2, BorderPSNR=2, SSIM=4)
NOTHING = '-'


def show_value(metric: str, value) -> str:
    """A measured value with the digits that are usual for its metric; a dash for None.

    Args:
        metric (str): Its name, without a prefix.
        value (float, optional): The value.
    """
    if value is None:
        return NOTHING
    return f'{value:.{DIGITS[metric]}f}' if metric in DIGITS else f'{value:.4g}'


def text_table(header: Sequence[str], rows: List[Sequence[str]]) -> str:
    """Columns for the screen: the first to the left, the others to the right."""
    widths = [max(len(row[column]) for row in [header, *rows]) for column in range(len(header))]

    def line(row):
        first, *others = (
            cell.ljust(width) if index == 0 else cell.rjust(width)
            for index, (cell, width) in enumerate(zip(row, widths))
        )
        return '  '.join([first, *others]).rstrip()

    return '\n'.join([line(header), '  '.join('-' * width for width in widths), *map(line, rows)])


def markdown_table(header: Sequence[str], rows: List[Sequence[str]]) -> str:
    """The same in markdown."""
    lines = [header, ['---'] + ['---:'] * (len(header) - 1), *rows]
    return '\n'.join('| ' + ' | '.join(cell.replace('|', '\\|') for cell in line) + ' |' for line in lines)


def csv_text(header: Sequence[str], rows: List[Sequence]) -> str:
    """The same as CSV; numbers with all their digits, nothing for None."""
    text = io.StringIO()
    csv.writer(text, lineterminator='\n').writerows([header, *rows])
    return text.getvalue()


#: (test set, metric).
Measure = Tuple[str, str]
#: What a log line of a validation holds besides its metrics.
NO_METRIC = {'step', 'time', 'data_time', 'memory', 'epoch'}


def read_records(work_dir: str) -> Iterator[dict]:
    """The lines of all ``scalars.json`` of a run, its resumptions in order.

    A line that is no JSON is left out: a run that is killed while it writes leaves half a line.
    """
    for path in sorted(glob.glob(osp.join(glob.escape(work_dir), '*', 'vis_data', 'scalars.json'))):
        with open(path) as lines:
            for line in lines:
                try:
                    yield json.loads(line)
                except ValueError:
                    pass


def read_scalars(work_dir: str, name: str) -> List[Tuple[int, float]]:
    """Steps and values of one scalar of a run; where a step was logged twice, the later value holds.

    Args:
        work_dir (str): Work folder of the run.
        name (str): The scalar, such as ``PSNR`` or ``student.loss_recon``.
    """
    return sorted({record['step']: record[name] for record in read_records(work_dir) if name in record}.items())


def read_validated(work_dir: str) -> Dict[int, Dict[Measure, float]]:
    """The validations of a run by step; where a step was validated twice, the later value holds.

    Raises:
        FileNotFoundError: The folder holds no validation.
    """
    steps = {}
    for record in read_records(work_dir):
        # Lines of training carry the iteration.
        if 'iter' not in record and 'lr' not in record and 'step' in record:
            values = {_measure(name): value for name, value in record.items() if name not in NO_METRIC}
            steps.setdefault(record['step'], {}).update(values)
    steps = {step: values for step, values in sorted(steps.items()) if values}
    if not steps:
        raise FileNotFoundError(
            f'{work_dir} holds no validation: no */vis_data/scalars.json with metrics in it. Is it '
            'the work folder of a run that has validated?'
        )
    return steps


def _measure(name: str) -> Measure:
    prefix, _, metric = name.rpartition('/')
    return prefix or 'validation', metric


RESAMPLES = 10_000


class Interval(NamedTuple):
    """A mean and its 95 % interval, None where there is none to be had.

    Attributes:
        mean (float): Of the differences.
        low, high (float, optional): The interval.
    """

    mean: float
    low: Optional[float] = None
    high: Optional[float] = None

    def __str__(self) -> str:
        """'+0.120 [+0.050, +0.190]', or the mean alone."""
        limits = '' if self.low is None else f' [{self.low:+.3f}, {self.high:+.3f}]'
        return f'{self.mean:+.3f}{limits}'


def paired_t(differences: Sequence[float], confidence: float = 0.95) -> Interval:
    """Student's interval of the mean of differences, one a seed; for a single one only the mean."""
    values = np.asarray(differences, float)
    mean = float(values.mean())
    if len(values) < 2:
        return Interval(mean)
    half = float(stats.t.ppf((1 + confidence) / 2, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values)))
    return Interval(mean, mean - half, mean + half)


def bootstrap(differences: Sequence[float], confidence: float = 0.95) -> Interval:
    """Percentile interval of the mean of differences, one an image, by resampling the images; the same each time."""
    values = np.asarray(differences, float)
    if len(values) < 2:
        return Interval(float(values.mean()))
    drawn = np.random.default_rng(0).integers(len(values), size=(RESAMPLES, len(values)))
    low, high = np.quantile(values[drawn].mean(1), [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(float(values.mean()), float(low), float(high))

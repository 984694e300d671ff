"""The scalars of a run, as mmengine's LocalVisBackend writes them."""

import glob
import json
import os.path as osp
from typing import Dict, Iterator, List, Tuple

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

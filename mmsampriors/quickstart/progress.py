"""What the quickstart does, and its progress."""

import os.path as osp
import sys
import time
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass

from mmsampriors.progress import progress_bar

#: The trainings, in their order; the last two start from the first and run side by side.
TRAININGS = ('first', 'plain', 'spd')


#: What an iteration costs, in tenths of one of plain training: the refiner's runs the student too, and the student's
#: under the refiner runs initial student, refiner and feature extractor too. Only the bar depends on it.
COST = dict(plain=10, refiner=16, student=26)


@dataclass(frozen=True)
class Plan:
    """The numbers and folders of a quickstart.

    Args:
        config (str): Path of ``configs/spd/quickstart.py``.
        out (str): Folder of all that is written.
        first (int): Updates of the plain training that both others start from.
        refiner (int): Updates of the refiner over that student.
        then (int): Further updates of the student, in the plain and in the SPD training alike.
    """

    config: str
    out: str
    first: int
    refiner: int
    then: int

    def steps(self, name: str) -> int:
        """Iterations of a training."""
        return dict(first=self.first, plain=self.then, spd=self.refiner + self.then)[name]

    def cost(self, name: str, iterations: int) -> int:
        """What the first iterations of a training cost, in the unit of :data:`COST`.

        The plain training, shorter than the SPD training beside it, costs no time of its own.
        """
        if name == 'spd':
            refiner = min(iterations, self.refiner)
            return refiner * COST['refiner'] + (iterations - refiner) * COST['student']
        return iterations * COST['plain'] if name == 'first' else 0

    def folder(self, *names: str) -> str:
        """A path below ``out``."""
        return osp.join(self.out, *names)

    def last_checkpoint(self, name: str) -> str:
        """The checkpoint that a finished training leaves."""
        return self.folder(name, f'iter_{self.steps(name)}.pth')


class Console:
    """Numbered lines that say what is being done, while the chatter of libraries goes to a log.

    Args:
        log (str): File that gets the chatter at its end.
        stages (int): How many stages there will be.
    """

    def __init__(self, log: str, stages: int):
        self.log, self.stages, self.stage, self.begun = log, stages, 0, time.monotonic()
        self.out, self.err = sys.stdout, sys.stderr

    @contextmanager
    def kept_clear(self):
        """While it lasts, what is printed goes to the log."""
        with open(self.log, 'a', buffering=1) as log, redirect_stdout(log), redirect_stderr(log):
            yield

    def begin(self, text: str):
        """Shows that the next stage begins."""
        self.stage += 1
        self.show(f'[{self.stage}/{self.stages}] {text}')

    def show(self, text: str):
        print(text, file=self.out, flush=True)

    @property
    def elapsed(self) -> str:
        """Time since the beginning."""
        minutes, seconds = divmod(round(time.monotonic() - self.begun), 60)
        return f'{minutes} min {seconds} s'


def training_bar(total: int, console: Console):
    """Progress over several trainings that follow each other; its unit is :data:`COST`.

    Args:
        total (int): Their cost.
        console (Console): Where it is shown.
    """
    layout = '      {percentage:3.0f}%|{bar}| {elapsed}, {remaining} left{postfix}'
    return progress_bar(total=total, file=console.err, bar_format=layout, smoothing=0.05, dynamic_ncols=True)

"""What a quickstart does, and where."""

import os.path as osp
from dataclasses import dataclass

#: The trainings, in their order; the last two start from the first and run side by side.
TRAININGS = ('first', 'plain', 'spd')


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

    def folder(self, *names: str) -> str:
        """A path below ``out``."""
        return osp.join(self.out, *names)

    def last_checkpoint(self, name: str) -> str:
        """The checkpoint that a finished training leaves."""
        return self.folder(name, f'iter_{self.steps(name)}.pth')

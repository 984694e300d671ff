"""Restores many photographs: what is broken is named and passed by, what is done is not done again."""

import sys
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Callable, Dict, List, Optional, Sequence

from tqdm import tqdm

import mmsampriors

from .inputs import Found
from .panels import write_panel
from .photographs import Photograph, PhotographError, read_photograph, write_photograph
from .records import Records
from .restorer import Restorer
from .tiles import OutOfMemoryError

REFINED, COMPARED = 'refined', 'compared'  # folders below the folder of results


@dataclass
class Outcome:
    """What became of the photographs.

    Args:
        restored (int): How many were restored now.
        ready (int): How many were restored before.
        failed (list[str]): A line for each that could not be, with its path and the reason.
        measured (list[dict]): One row for each photograph that was measured.
    """

    restored: int = 0
    ready: int = 0
    failed: List[str] = field(default_factory=list)
    measured: List[Dict] = field(default_factory=list)


class Job:
    """How photographs are restored and where the results go.

    Args:
        restorer (Restorer): Restores them.
        out (str | Path): The folder of results.
        compare (bool): Whether to write panels, too.
        refine (callable, optional): Takes a Photograph and its path and gives it refined.
        measure (callable, optional): Takes the name of a result and, by kind, ``input``, ``restored`` and perhaps
            ``refined``, the Photographs; gives a row.
        truth (callable, optional): Gives the ground truth for the name of a result, for panels.
    """

    def __init__(
        self,
        restorer: Restorer,
        out,
        compare: bool = False,
        refine: Optional[Callable[[Photograph, Path], Photograph]] = None,
        measure: Optional[Callable[[Path, Dict[str, Photograph]], Dict]] = None,
        truth: Optional[Callable[[Path], Photograph]] = None,
    ):
        self.restorer, self.out, self.compare = restorer, Path(out), compare
        self.refine, self.measure, self.truth = refine, measure, truth
        settings = dict(version=mmsampriors.__version__, network=restorer.network.identity)
        settings |= dict(tile=restorer.tile, overlap=restorer.overlap, truth=truth is not None and compare)
        self.records = Records(out, settings)

    def run(self, photographs: Sequence[Found]) -> Outcome:
        """Restores the photographs behind one line of progress.

        Args:
            photographs (list[Found]): They, and the names of their results.
        """
        outcome = Outcome()
        layout = '{percentage:3.0f}% {bar:20} {n:.1f} of {total}, {rate_fmt}, {remaining} left{postfix}'
        calm = 0.2 if sys.stderr.isatty() else 30  # seconds between lines in a log
        with tqdm(total=len(photographs), unit='photo', bar_format=layout, mininterval=calm) as bar:
            say = partial(bar.write, file=sys.stderr)
            self.restorer.tell = say
            for index, one in enumerate(photographs):
                bar.set_postfix_str(one.path.name, refresh=False)
                bar.update(index - bar.n)
                try:
                    self._restore(one, outcome, lambda share: bar.update(min(share, index + 1 - bar.n)), say)
                except (PhotographError, OutOfMemoryError) as error:
                    outcome.failed.append(f'{one.path}: {error}')
                    say(f'not restored: {one.path}: {error}')
            bar.update(len(photographs) - bar.n)
        return outcome

    def _results(self, name):
        results = dict(restored=name)
        if self.refine is not None:
            results['refined'] = Path(REFINED) / name
        if self.compare:
            results['compared'] = Path(COMPARED) / name.with_name(f'{name.name}.jpg')
        return results

    def _restore(self, one, outcome, progress, say):
        results = self._results(one.name)
        done = self.records.is_done(one.path, results)
        if done:
            outcome.ready += 1
            if self.measure is None:
                return
        photograph = read_photograph(one.path)
        if done:
            kinds = [kind for kind in results if kind != 'compared']
            images = {kind: read_photograph(self.out / results[kind]) for kind in kinds}
        else:
            images = self._make(one, photograph, results, progress, say)
            outcome.restored += 1
        if self.measure is not None:
            outcome.measured.append(self.measure(one.name, dict(input=photograph, **images)))

    def _make(self, one, photograph, results, progress, say):
        """Restores a photograph and writes all that is made of it; the record comes last."""
        images = dict(restored=self.restorer.restore_photograph(photograph, progress))
        if self.refine is not None:
            images['refined'] = self.refine(photograph, one.path)
        notes = list(images['restored'].notes)
        for kind, image in images.items():
            lost = write_photograph(self.out / results[kind], image)
            notes += lost if kind == 'restored' else []
        if one.name.name != one.path.name:
            notes.append(f'written as {one.name}')
        if self.compare:
            panel = dict(input=photograph, **images)
            if self.truth is not None:
                panel['ground truth'] = self.truth(one.name)
            write_panel(self.out / results['compared'], panel)
        for note in notes:
            say(f'{one.path}: {note}')
        self.records.add(one.path, results)
        return images

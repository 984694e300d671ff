"""Restoring many photographs: which, what is done already, and what fails."""

import io
import sys
from dataclasses import dataclass, field
from errno import EDQUOT, ENOSPC, EROFS
from functools import partial
from pathlib import Path
from typing import Callable, Dict, List, Optional, Sequence

import mmsampriors
from mmsampriors.command_line import message_of
from mmsampriors.files import MadeFiles, sha256_of
from mmsampriors.images import (
    Photograph,
    PhotographError,
    encode_photograph,
    enlarged,
    read_photograph,
    refuse_too_large,
)
from mmsampriors.progress import progress_bar

from .inputs import COMPARED, REFINED, RESTORED, Found, kinds_of, results_of
from .measures import MOST_MOVED, encode_panel, largest_move
from .restorer import Restorer
from .tiles import OutOfMemoryError, is_out_of_memory

#: What no other photograph can be written after either.
FULL = (EDQUOT, ENOSPC, EROFS)


@dataclass
class Outcome:
    """What became of the photographs.

    Args:
        restored (int): How many were restored now.
        ready (int): How many were restored before.
        failed (list[str]): A line for each that could not be, with its path and the reason.
        garbage (list[str]): A line for each result that was restored to garbage, now or before.
        measured (list[dict]): One row for each photograph that was measured.
    """

    restored: int = 0
    ready: int = 0
    failed: List[str] = field(default_factory=list)
    garbage: List[str] = field(default_factory=list)
    measured: List[Dict] = field(default_factory=list)


class Job:
    """How photographs are restored and where the results go.

    Args:
        restorer (Restorer): Restores them.
        out (str | Path): The folder of results.
        compare (bool): Whether to write panels, too.
        refine (callable, optional): Takes a Photograph and its path and gives it refined. Its ``identity`` changes with
            whatever changes its results.
        measure (callable, optional): Takes the name of a result and, by kind, ``input``, ``restored`` and perhaps
            ``refined``, the Photographs; gives a row.
        truth (callable, optional): Gives the ground truth for the name of a result, for panels.
        skip_garbage (bool): Whether the input is kept, enlarged by bicubic interpolation where the network enlarges,
            where restoring moved a block by more than ``MOST_MOVED``.
    """

    def __init__(
        self,
        restorer: Restorer,
        out,
        compare: bool = False,
        refine: Optional[Callable[[Photograph, Path], Photograph]] = None,
        measure: Optional[Callable[[Path, Dict[str, Photograph]], Dict]] = None,
        truth: Optional[Callable[[Path], Photograph]] = None,
        skip_garbage: bool = False,
    ):
        self.restorer, self.out, self.compare = restorer, Path(out), compare
        self.refine, self.measure, self.truth, self.skip_garbage = refine, measure, truth, skip_garbage
        self.kinds = kinds_of(refine is not None, compare)
        self.made = MadeFiles(out, 'restore')
        self.made_by = dict(version=mmsampriors.__version__, network=restorer.network.identity)
        self.made_by |= dict(tile=restorer.tile, overlap=restorer.overlap, truth=truth is not None and compare)

    def run(self, photographs: Sequence[Found]) -> Outcome:
        """Restores the photographs behind one line of progress.

        Args:
            photographs (list[Found]): They, and the names of their results.
        """
        outcome = Outcome()
        layout = '{percentage:3.0f}% {bar:20} {n:.1f} of {total}, {rate_fmt}, {remaining} left{postfix}'
        with progress_bar(total=len(photographs), unit='photo', bar_format=layout, mininterval=0.2) as bar:
            report = partial(bar.write, file=sys.stderr)
            self.restorer.report = report
            for index, one in enumerate(photographs):
                bar.set_postfix_str(one.path.name, refresh=False)
                bar.update(index - bar.n)
                try:
                    self._restore(one, outcome, lambda share: bar.update(min(share, index + 1 - bar.n)), report)
                except Exception as error:
                    if isinstance(error, OSError) and error.errno in FULL:
                        raise
                    outcome.failed.append(f'{one.path}: {_reason(error)}')
                    report(f'not restored: {outcome.failed[-1]}')
            bar.update(len(photographs) - bar.n)
        return outcome

    def _restore(self, one, outcome, progress, report):
        results = results_of(one, self.kinds)
        made_of = dict(photograph=sha256_of(one.path) if one.path.is_file() else None, made_by=self.made_by)
        made_of = {kind: dict(made_of, **self._refiner(kind)) for kind in results}
        done = all(self.made.is_done(name, **made_of[kind]) for kind, name in results.items())
        done = done and all(self._is_decided(results[kind]) for kind in results if kind != COMPARED)
        if not done:
            photograph = read_photograph(one.path)
            height, width = (side * self.restorer.network.scale for side in photograph.pixels.shape[:2])
            refuse_too_large(one.name.suffix, height, width)
            self.made.refuse_changed(results.values())
            images = self._make(one, photograph, results, made_of, progress, report)
        outcome.restored += not done
        outcome.ready += done
        garbage = [line for kind in results if kind != COMPARED for line in self._garbage(one, results[kind])]
        outcome.garbage += garbage
        for line in garbage:
            report(line)
        if self.measure is None:
            return
        if done:
            photograph = read_photograph(one.path)
            images = {kind: read_photograph(self.out / name) for kind, name in results.items() if kind != COMPARED}
        outcome.measured.append(self.measure(one.name, dict(input=photograph, **images)))

    def _is_decided(self, name):
        """Whether a result is what is wanted where it is garbage: the input, or what the network made."""
        notes = self.made.notes_of(name)
        return notes.get('input_kept') == (self.skip_garbage and notes.get('move', 0) > MOST_MOVED)

    def _garbage(self, one, name):
        """A line where a result is garbage, by what was noted when it was written: JPEG changes it a little."""
        notes = self.made.notes_of(name)
        if notes['move'] <= MOST_MOVED:
            return []
        larger = ' enlarged' if self.restorer.network.scale > 1 else ''
        kept = f'the input is kept{larger}' if notes['input_kept'] else f'--skip-garbage keeps the input{larger}'
        x, y = notes['at']
        return [
            f'{one.path}: {name} looks like garbage: around x {x}, y {y} the large shapes moved by '
            f'{notes["move"]:.0%} of white, those of right restorations by less than {MOST_MOVED:.0%}; {kept}'
        ]

    def _refiner(self, kind):
        """What a kind of result is made of beside the student; panels are made anew with the refined images."""
        return dict(refiner=getattr(self.refine, 'identity', None)) if kind == REFINED else {}

    def _make(self, one, photograph, results, made_of, progress, report):
        """Restores a photograph and writes all that is made of it."""
        images = {RESTORED: self.restorer.restore_photograph(photograph, progress)}
        if self.refine is not None:
            images[REFINED] = self.refine(photograph, one.path)
        notes = list(images[RESTORED].notes)
        for kind, image in images.items():
            move, at = largest_move(photograph.pixels, image.pixels)
            kept = self.skip_garbage and move > MOST_MOVED
            if kept:
                larger = enlarged(photograph.pixels, self.restorer.network.scale)
                image = images[kind] = photograph.with_pixels(larger)
            content, lost = encode_photograph(one.name.suffix, image)
            if self.measure is not None:  # what is written, as the next call will: JPEG changes it
                images[kind] = read_photograph(io.BytesIO(content))
            self.made.write(results[kind], content, dict(move=move, at=at, input_kept=kept), **made_of[kind])
            notes += lost if kind == RESTORED else []
        if one.name.name != one.path.name:
            notes.append(f'written as {one.name}')
        if self.compare:
            panel = dict(input=photograph, **images)
            if self.truth is not None:
                panel['ground truth'] = self.truth(one.name)
            self.made.write(results[COMPARED], encode_panel(panel), **made_of[COMPARED])
        for note in notes:
            report(f'{one.path}: {note}')
        return images


def _reason(error):
    if isinstance(error, (PhotographError, OutOfMemoryError)):
        return str(error)
    return f'out of memory: {error or "free some"}' if is_out_of_memory(error) else message_of(error)

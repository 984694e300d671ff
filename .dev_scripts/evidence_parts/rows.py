"""The rows of the table: ``results.json``, whole after every row."""

import json
import os
import threading
from pathlib import Path
from typing import Iterable, List

from mmsampriors.files import write_whole

#: What distinguishes a training, and a row.
TRAINING = 'preset task trained_on model seed student masks schedule variant updates unlabeled'.split()
IDENTITY = (*TRAINING, 'test_on', 'test_set')
#: What rows say that were written before there was such a choice.
OLDER = dict(unlabeled='')


def key_of(row: dict) -> tuple:
    """What distinguishes a row from all others."""
    return tuple({**OLDER, **row}[name] for name in IDENTITY)


def read_rows(path) -> List[dict]:
    """The rows of a results file.

    Raises:
        ValueError: It is no such file.
    """
    try:
        rows = json.loads(Path(path).read_text())
        for row in rows:
            key_of(row)
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f'{path} is no results.json of evidence.py: {error!r}') from None
    return rows


def merged(*lists: Iterable[dict]) -> List[dict]:
    """The rows of several lists; of the same row the last."""
    return list({key_of(row): row for rows in lists for row in rows}.values())


class Rows:
    """The rows so far, kept on disk.

    Args:
        path (Path): ``results.json``; what it holds is kept.
        others (list): Further results files whose rows count as done.
    """

    def __init__(self, path: Path, others: Iterable = ()):
        self.path, self._lock = path, threading.Lock()
        found = [path] if os.path.isfile(path) else []
        self.rows = merged(*map(read_rows, [*others, *found]))

    def add(self, row: dict):
        """Prints a row and writes all of them."""
        with self._lock:
            self.rows = merged(self.rows, [row])
            self.save()
            short = {name: value for name, value in row.items() if not isinstance(value, (dict, list))}
            print(json.dumps(short), flush=True)

    def save(self):
        """Writes the file, a line a row."""
        write_whole(str(self.path), '[\n' + ',\n'.join(map(json.dumps, self.rows)) + '\n]\n')

    def has(self, identity: dict, part: str, sets: Iterable[str]) -> bool:
        """Whether a training was tested on all these sets."""
        with self._lock:
            known = {key_of(row) for row in self.rows}
        return all(key_of(dict(identity, test_on=part, test_set=name)) in known for name in sets)

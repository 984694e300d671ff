"""Which files a check has found good, so that it need not look at them again."""

import json
import os
from pathlib import Path
from typing import Optional, Sequence

from mmsampriors.files import write_whole


class CheckedFiles:
    """A record on disk of groups of files that were good, by their size and date.

    Args:
        path (str | Path, optional): The record, JSON; None keeps none. One that cannot be read counts as empty.
    """

    def __init__(self, path=None):
        self.path = path and Path(path)
        try:
            self.known = json.loads(self.path.read_text()) if path else {}
        except (OSError, ValueError):
            self.known = {}

    def find(self, files: Sequence[str], how: str) -> Optional[list]:
        """What was noted of a group of files; None where there is no note, or a file has changed since.

        Args:
            files (list[str]): The files.
            how (str): How they were read; read otherwise they are other images.
        """
        entry = self.known.get(_key(files, how))
        return entry['note'] if entry and entry['dates'] == _dates(files) else None

    def note(self, files: Sequence[str], how: str, note: list):
        """Notes that a group of files is good."""
        self.known[_key(files, how)] = dict(dates=_dates(files), note=note)

    def save(self):
        """Writes the record. A folder that cannot be written only costs the next check its time."""
        if self.path:
            try:
                write_whole(self.path, json.dumps(self.known))
            except OSError:
                pass


def _key(files, how):
    return '\n'.join([how, *(os.path.abspath(file) for file in files)])


def _dates(files):
    try:
        return [[stat.st_size, stat.st_mtime_ns] for stat in map(os.stat, files)]
    except OSError:
        return None

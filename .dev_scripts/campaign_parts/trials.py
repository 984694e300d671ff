"""One disturbance of one tool, and what came of it."""

import json
import os
import random
import shutil
import subprocess
from pathlib import Path
from typing import Dict, NamedTuple

from mmsampriors.files import write_whole

from .phases import Phase
from .results import results_of
from .tools import Ended, Tools

#: A run that is killed once may be killed again while it goes on.
KILLS_IN_A_ROW = 3
#: Bytes that a tmpfs has at least, and has after it has been made larger.
SMALLEST, LARGE = 2**16, 2**28
POLL_FILES_SECONDS = 0.03


class Whole(NamedTuple):
    """The run of a phase that nobody disturbs: its results, seconds, and the bytes and number of its files."""

    results: Dict[str, str]
    seconds: float
    size: int
    files: int


class Trials:
    """Disturbs phases in a folder of its own.

    Args:
        tools (Tools): Starts processes.
        folder (Path): Takes what the runs write.
        seed (int): Another seed gives other moments and other bytes.
    """

    def __init__(self, tools: Tools, folder: Path, seed: int):
        self.tools, self.folder, self.seed = tools, folder, seed
        self._expected = {}

    def whole(self, phase: Phase) -> Whole:
        """Runs a phase undisturbed, unless an earlier campaign in the folder has.

        Raises:
            RuntimeError: It failed.
        """
        out = self.folder / 'whole' / slug(phase.name)
        record = out.with_suffix('.json')
        if record.exists():
            return Whole(**json.loads(record.read_text()))
        shutil.rmtree(out, ignore_errors=True)
        ended = self._run(phase, out)
        if ended.code:
            raise RuntimeError(f'{phase.name} fails without any disturbance:\n{ended.printed[-3000:]}')
        files = [path for path in out.rglob('*') if path.is_file()]
        whole = Whole(results_of(out), ended.seconds, sum(path.stat().st_size for path in files), len(files))
        write_whole(record, json.dumps(whole._asdict()))
        return whole

    def kill(self, phase: Phase, whole: Whole, number: int) -> dict:
        """Kills a run up to three times, lets it go on, and compares."""
        draw, out, kills = self._draw('kill', phase.name, number), self._fresh('kill', phase.name, number), 0
        for _ in range(draw.randint(1, KILLS_IN_A_ROW)):
            ended = self._run(phase, out, kill_when=_moment(draw, whole, out))
            kills += ended.killed
            if not ended.killed:
                break
        if ended.killed:
            ended = self._run(phase, out)
        return dict(kills=kills, **self._judge(ended, out, whole.results))

    def fill(self, phase: Phase, whole: Whole, number: int) -> dict:
        """Lets the disk be full in the middle of a run, makes room, lets the run go on, and compares."""
        draw, out = self._draw('fill', phase.name, number), self._fresh('fill', phase.name, number)
        out.mkdir(parents=True)
        size = max(SMALLEST, int(whole.size * draw.uniform(0.1, 0.9)))
        subprocess.run(['mount', '-t', 'tmpfs', '-o', f'size={size}', 'tmpfs', out], check=True)
        try:
            ended = self._run(phase, out)
            said = not ended.code or 'No space left on device' in ended.printed and str(out) in ended.printed
            subprocess.run(['mount', '-o', f'remount,size={LARGE}', out], check=True)
            full, printed = bool(ended.code), ended.printed
            if full:
                ended = self._run(phase, out)
            judged = self._judge(ended, out, whole.results)
        finally:
            subprocess.run(['umount', out], check=True)
        if not said:
            judged = dict(outcome='unnamed', note=printed[-1500:])
        return dict(full=full, **judged)

    def damage(self, kind, number: int, how: str) -> dict:
        """Cuts a file off or flips a bit in it, starts what reads it, and compares with what the whole file gives."""
        draw = self._draw(how, kind.name, number)
        if kind.name not in self._expected:
            self._expected[kind.name] = self._read(kind, self._fresh('control', kind.name))
        expected = self._expected[kind.name]
        out = self._fresh(how, kind.name, number)
        path = draw.choice(sorted(kind.prepare(self.folder, out)))
        where = harm(path, how, draw)
        ended = self.tools.run(kind.command(out), out.with_suffix('.log'))
        name = path.name
        if ended.code:
            outcome = 'named' if name in ended.printed and 'Traceback' not in ended.printed else 'unnamed'
            return dict(outcome=outcome, file=name, where=where, note=ended.printed[-600:])
        judged = self._judge(ended, out, expected, ignore=name if kind.keeps else '')
        return dict(file=name, where=where, **judged)

    def _read(self, kind, out) -> Dict[str, str]:
        """What comes of a kind of file where it is whole."""
        kind.prepare(self.folder, out)
        ended = self.tools.run(kind.command(out), out.with_suffix('.log'))
        if ended.code:
            raise RuntimeError(f'{kind.name}: the undamaged file cannot be read:\n{ended.printed[-3000:]}')
        return results_of(out)

    def _run(self, phase, out, **when) -> Ended:
        return self.tools.run(phase.command(out), out.with_suffix('.log'), phase.processes, **when)

    def _judge(self, ended, out, expected, ignore='') -> dict:
        if ended.code:
            return dict(outcome='lost', note=ended.printed[-1500:])
        found = results_of(out)
        differing = [name for name in {**expected, **found} if found.get(name) != expected.get(name)]
        differing = [name for name in differing if not ignore or not name.endswith(ignore)]
        missing = [name for name in differing if name not in found]
        if not differing:
            shutil.rmtree(out, ignore_errors=True)
        outcome = 'lost' if missing else 'wrong' if differing else 'same'
        return dict(outcome=outcome, note=', '.join(sorted(differing)))

    def _draw(self, *names) -> random.Random:
        return random.Random('/'.join(map(str, (self.seed, *names))))

    def _fresh(self, *names) -> Path:
        out = self.folder / 'trials' / slug(' '.join(map(str, names)))
        shutil.rmtree(out, ignore_errors=True)
        return out


def harm(path: Path, how: str, draw: random.Random) -> int:
    """Damages a file.

    Args:
        path (Path): Not empty.
        how (str): 'cut': what follows a byte is gone; 'flip': one bit of a byte is another.
        draw (Random): Chooses the byte.

    Returns:
        int: Where in the file.
    """
    content = bytearray(path.read_bytes())
    at = draw.randrange(len(content))
    if how == 'cut':
        del content[at:]
    else:
        content[at] ^= 1 << draw.randrange(8)
    times = path.stat()
    path.write_bytes(content)
    # As a disk does it: nothing notes that the file has changed.
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    return at


def slug(name: str) -> str:
    """A name as a file name."""
    return ''.join(letter if letter.isalnum() else '_' for letter in name)


def _moment(draw, whole, out):
    """When a run is killed: after a random time, or when so many of its files have been seen, whole or in the making.

    The second hits the moments of writing, which are short.
    """
    if draw.random() < 0.5:
        at = draw.uniform(0, whole.seconds)
        return lambda seconds: seconds >= at
    before, seen = set(_names(out)), set()
    count, last = draw.randint(1, whole.files), [0.0]

    def reached(seconds):
        if seconds - last[0] >= POLL_FILES_SECONDS:
            last[0] = seconds
            seen.update(_names(out) - before)
        return len(seen) >= count

    return reached


def _names(folder) -> set:
    return {os.path.join(root, name) for root, _, names in os.walk(folder) for name in names}

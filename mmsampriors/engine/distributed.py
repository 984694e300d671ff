"""Waiting for all ranks of a distributed run."""

import contextlib
import threading
import time
from datetime import timedelta
from typing import Iterator, List

from mmengine.dist import get_dist_info
from mmengine.logging import print_log

from mmsampriors.compat.upstream import default_store

#: How often a process looks whether the others are through, and how often it says that it is alive.
POLL, BEAT = 1.0, 10.0
#: After this long without a sign of life a process counts as lost.
LOST = timedelta(minutes=10)

_barriers = 0


@contextlib.contextmanager
def wait_for_all_ranks(what: str, poll: float = POLL, beat: float = BEAT, lost: timedelta = LOST) -> Iterator[None]:
    """Runs the body in each process of a run, and goes on when all processes are through with it.

    A barrier is a collective: NCCL ends a run whose processes come to one more than ten minutes apart, and filling a
    cache takes hours. Here they leave notes in the store of the process group, and look for those of the others.

    Args:
        what (str): What the body does, for messages.
        poll (float): Seconds from look to look.
        beat (float): Seconds from one sign of life to the next, which a thread gives while the body works.
        lost (timedelta): A process that gives none for so long is lost.

    Raises:
        RuntimeError: The body of another process failed, or a process is lost.
    """
    global _barriers
    rank, world_size = get_dist_info()
    if world_size == 1:
        yield
        return
    _barriers += 1  # all processes come to the same barriers in the same order
    notes = _Notes(f'mmsampriors/{_barriers}', rank)
    with notes.alive(beat):
        try:
            yield
        except BaseException as error:
            notes.write('failed', f'{type(error).__name__}: {error}')
            raise
    notes.write('through', 'yes')
    _wait(notes, [other for other in range(world_size) if other != rank], what, poll, lost)


class _Notes:
    """Notes of this process and of the others in the store of the process group."""

    def __init__(self, prefix: str, rank: int):
        self.prefix, self.rank, self.store = prefix, rank, default_store()

    def _key(self, kind: str, rank: int) -> str:
        return f'{self.prefix}/{kind}/{rank}'

    def write(self, kind: str, text: str):
        self.store.set(self._key(kind, self.rank), text)

    def read(self, kind: str, rank: int) -> str:
        """'' where there is none."""
        key = self._key(kind, rank)
        return self.store.get(key).decode() if self.store.check([key]) else ''

    @contextlib.contextmanager
    def alive(self, beat: float):
        """Gives signs of life from a thread of its own while the body works."""
        stop = threading.Event()

        def give():
            count = 0
            while not stop.is_set():
                count += 1
                self.write('alive', str(count))
                stop.wait(beat)

        thread = threading.Thread(target=give, daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()


def _wait(notes: _Notes, others: List[int], what: str, poll: float, lost: timedelta):
    seen = {other: ('', time.monotonic()) for other in others}
    reported = 0
    while others:
        for other in others:
            failure = notes.read('failed', other)
            if failure:
                raise RuntimeError(f'{what} failed in process {other}: {failure}')
            sign = notes.read('alive', other)
            if sign != seen[other][0]:
                seen[other] = sign, time.monotonic()
            if time.monotonic() - seen[other][1] > lost.total_seconds() and not notes.read('through', other):
                raise RuntimeError(
                    f'process {other} was lost while {what}: no sign of life for {lost}. What is done is kept; '
                    'start the same command again'
                )
        others = [other for other in others if not notes.read('through', other)]
        if others and len(others) != reported:
            print_log(f'{what}: waiting for {len(others)} other processes', 'current')
            reported = len(others)
        if others:
            time.sleep(poll)

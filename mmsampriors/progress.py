"""Progress: a bar on a terminal, and lines where the output is a file, a pipe or the log of a CI."""

import sys
import time
from typing import Iterable, Optional, TextIO

#: Seconds between two lines: at most where a tenth more is done, and where it is not.
SOONEST, LATEST = 1, 30


def progress_bar(iterable: Optional[Iterable] = None, file: Optional[TextIO] = None, **options):
    """Shows how far a work is: tqdm's bar on a terminal; elsewhere, and without tqdm, :class:`Lines`.

    Args:
        iterable (Iterable, optional): What is gone through. Defaults to None: ``update`` counts.
        file (TextIO, optional): Where it is shown. Defaults to stderr.
        **options: Of tqdm.
    """
    file = file or sys.stderr
    if file.isatty():
        try:
            from tqdm import tqdm
        except ModuleNotFoundError:  # ONNX students need onnxruntime, numpy and Pillow, and nothing else
            pass
        else:
            return tqdm(iterable, file=file, **options)
    return Lines(iterable, file, **options)


class Lines:
    """Progress as lines: one for each tenth of the whole that is done, or for 30 s.

    Args:
        iterable (Iterable, optional): What is gone through.
        file (TextIO): Where lines go.
        desc, total, unit, initial, disable: As tqdm's. The others of tqdm shape its bar, and are ignored.
    """

    def __init__(self, iterable, file, desc='', total=None, unit='it', initial=0, disable=False, **bar):
        self.iterable, self.file, self.disable = iterable, file, disable
        self.desc, self.unit, self.postfix = desc or '', unit, ''
        self.total = total if total is not None or not hasattr(iterable, '__len__') else len(iterable)
        self.n = self.begun_at = self.shown = initial
        self.began = self.shown_at = time.monotonic()

    def __enter__(self) -> 'Lines':
        return self

    def __exit__(self, *error):
        self.close()

    def __iter__(self):
        for one in self.iterable:
            yield one
            self.update(1)
        self.close()

    def update(self, count: float = 1):
        """``count`` more are done."""
        self.n += count
        waited = time.monotonic() - self.shown_at
        a_tenth = self.total and self.n - self.shown >= self.total / 10
        if waited >= LATEST or (a_tenth and waited >= SOONEST):
            self._show()

    def set_postfix_str(self, text: str, refresh: bool = True):
        """What is done now; the next line ends with it."""
        self.postfix = text

    def write(self, text: str, file: Optional[TextIO] = None):
        """Prints a line of another kind."""
        print(text, file=file or self.file, flush=True)

    def close(self):
        """The last line, where something was done that no line has shown."""
        if self.n != self.shown:
            self._show()

    def _show(self):
        self.shown, self.shown_at = self.n, time.monotonic()
        if not self.disable:
            self.write(': '.join(filter(None, [self.desc, self._text()])))

    def _text(self):
        seconds, scale, unit = self.shown_at - self.began, 1, f'{self.unit}s'
        if self.unit == 'B':
            scale, unit = 1e6, 'MB'
        done = f'{int(self.n / scale)}'  # photographs are done in tiles, which are parts of one
        if not self.total:
            return f'{done} {unit}, {seconds:.0f} s'
        left = seconds * (self.total - self.n) / max(self.n - self.begun_at, 1e-9)
        count = '' if self.unit == 'it' else f'{done} of {self.total / scale:.0f} {unit}, '  # tqdm's word for no unit
        text = f'{self.n / self.total:.0%}, {count}{left:.0f} s left'
        return f'{text}, {self.postfix}' if self.postfix else text

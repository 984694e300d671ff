"""The clock of all benchmarks."""

import time
from typing import Callable

import torch


class Clock:
    """Seconds of calls, the device's queue included.

    Args:
        device (str): Where the calls work.
    """

    def __init__(self, device: str):
        self.cuda = torch.device(device).type == 'cuda'

    def __call__(self, run: Callable) -> float:
        self._wait()
        start = time.perf_counter()
        run()
        self._wait()
        return time.perf_counter() - start

    def _wait(self):
        if self.cuda:
            torch.cuda.synchronize()


class CpuClock:
    """CPU seconds of this process, all of its threads: what else runs on the machine does not count."""

    def __call__(self, run: Callable) -> float:
        start = time.process_time()
        run()
        return time.process_time() - start

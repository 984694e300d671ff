"""What all benchmarks share: the clocks, and the rows that they print. Needs torch alone."""

import json
import platform
import statistics
import time
from typing import Callable, List

import torch


class Clock:
    """Seconds of calls, the device's queue included.

    Args:
        device (str): Where the calls work.
        cpu (bool): Whether to count CPU seconds of this process, all of its threads, whatever else runs.
    """

    def __init__(self, device: str, cpu: bool = False):
        self.cuda, self.now = torch.device(device).type == 'cuda', time.process_time if cpu else time.perf_counter

    def __call__(self, run: Callable) -> float:
        self._wait()
        start = self.now()
        run()
        self._wait()
        return self.now() - start

    def _wait(self):
        if self.cuda:
            torch.cuda.synchronize()


def ratio(values: List[float], baseline: List[float]) -> float:
    """Median over the rounds of the ratio within a round."""
    return statistics.median(a / b for a, b in zip(values, baseline))


def hardware(device: str) -> str:
    if torch.device(device).type == 'cuda':
        return f'{torch.cuda.get_device_name()}, torch {torch.__version__}'
    return f'{platform.machine()} CPU, {torch.get_num_threads()} threads, torch {torch.__version__}'


class Report:
    """One line a row."""

    def __init__(self, as_json: bool, device: str):
        self.as_json, self.hardware = as_json, hardware(device)

    def __call__(self, name: str, values: list, unit: str, **more):
        row = dict(name=name, median=statistics.median(values), min=min(values), max=max(values), unit=unit, **more)
        row = {key: float(f'{value:.5g}') if isinstance(value, float) else value for key, value in row.items()}
        if self.as_json:
            print(json.dumps({**row, 'hardware': self.hardware}), flush=True)
        else:
            print(' '.join(f'{key}={value}' for key, value in row.items()), flush=True)

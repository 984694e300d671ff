"""What the benchmarks of training and inference share: what is measured, and how it is timed."""

import gc
import logging
import os
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Dict, List, NamedTuple, Optional

os.environ.setdefault('KINETO_LOG_LEVEL', '5')  # of the profiler, which is quiet then
ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))  # a script in a checkout runs the checkout, whatever is installed

import mmsampriors  # noqa: F401  (before mmagic, which it mends)

# isort: split
import torch  # noqa: E402
from mmengine.config import Config  # noqa: E402
from report import Clock  # noqa: E402
from torch.profiler import ProfilerActivity, profile  # noqa: E402


class Subject(NamedTuple):
    """A config of ours and, where there is one, the stock config that it inherits."""

    config: str
    stock: Optional[str] = None


SUBJECTS = {
    'restormer': Subject('configs/spd/restormer_derain.py', 'mmagic::restormer/restormer_official_rain13k.py'),
    'nafnet': Subject(
        'configs/spd/nafnet_deblur.py', 'mmagic::nafnet/nafnet_c64eb11128mb1db1111_8xb8-lr1e-3-400k_gopro.py'
    ),
    'edsr': Subject('configs/spd/edsr_sr_x4.py', 'mmagic::edsr/edsr_x4c64b16_1xb16-300k_div2k.py'),
    'restormer-tiny': Subject('configs/spd/restormer_derain-tiny.py'),
    'nafnet-tiny': Subject('configs/spd/nafnet_derain-tiny.py'),
    'edsr-tiny': Subject('configs/spd/edsr_sr_x2-tiny.py'),
}


def subject_config(name: str) -> Config:
    """The config of a subject."""
    return Config.fromfile(str(ROOT / SUBJECTS[name].config))


@dataclass
class Task:
    """What is timed, and what must be done before it each time and is not."""

    run: Callable
    before: Callable = lambda: None


def interleaved(tasks: Dict[str, Task], clock: Clock, rounds: int) -> Dict[str, List[float]]:
    """Seconds of each task in each round, after one that warms up; every other round goes backwards.

    What else runs on the machine hurts all tasks alike, so that ratios within a round hold where seconds do not.
    """
    seconds = {name: [] for name in tasks}
    for turn in range(rounds + 1):
        for name in list(tasks)[:: 1 if turn % 2 else -1]:
            tasks[name].before()
            taken = clock(tasks[name].run)
            if turn:
                seconds[name].append(taken)
    return seconds


def peak_bytes(task: Task, device: str) -> int:
    """The most bytes of tensors at a time that a task adds to those that are there before it.

    On a GPU by ``torch.cuda.max_memory_allocated``, on the CPU by the profiler's record of PyTorch's allocator, which
    sees all tensors and not what a library takes for itself.
    """
    for do in (task.before, task.run, task.before):  # the optimizer's state is there from the second step on
        do()
    gc.collect()
    if torch.device(device).type == 'cuda':
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        task.run()
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated() - before
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        task.run()
    events = [event for event in profiler.profiler.kineto_results.events() if event.name() == '[memory]']
    held = peak = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        held += event.nbytes()
        peak = max(peak, held)
    return peak


def idle_share(intervals: List[tuple]) -> float:
    """The share of a span of time in which nothing ran.

    Args:
        intervals (list[tuple]): Begin and end of each thing that ran, in any order and unit; they may overlap.
    """
    ordered = sorted(intervals)
    busy, until = 0, ordered[0][0]
    for begin, end in ordered:
        busy += max(0, end - max(begin, until))
        until = max(until, end)
    return 1 - busy / (until - ordered[0][0])


def device_idle_share(run: Callable) -> float:
    """The share of the time of ``run`` in which the GPU has nothing to do: it waits for the host.

    From the begin of the first kernel or copy to the end of the last one, by the profiler.
    """
    torch.cuda.synchronize()
    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as profiler:
        run()
        torch.cuda.synchronize()
    on_device = torch.autograd.DeviceType.CUDA
    events = [event for event in profiler.profiler.kineto_results.events() if event.device_type() == on_device]
    return idle_share([(event.start_ns(), event.start_ns() + event.duration_ns()) for event in events])


def bytes_of(module: torch.nn.Module) -> int:
    """Of parameters and buffers."""
    return sum(tensor.nbytes for tensor in (*module.parameters(), *module.buffers()))


@contextmanager
def quiet():
    """Keeps mmengine's warnings, which go to the standard output, out of the rows."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)

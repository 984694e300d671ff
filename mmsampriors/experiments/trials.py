"""Running trainings as processes of the tools, for experiments, the quickstart and the evidence."""

import ctypes
import json
import multiprocessing
import os
import platform
import queue
import runpy
import signal
import sys
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from contextlib import suppress
from multiprocessing import forkserver
from pathlib import Path
from typing import Dict, List, Optional, Tuple
from unittest import mock

import torch
from mmengine.config import Config

from mmsampriors.files import write_whole
from mmsampriors.registry import is_a

from .baselines import Trial

PR_SET_PDEATHSIG = 1  # of Linux: the signal that a process gets when the one that it was copied from ends


def hardware() -> str:
    """What the rows call this machine."""
    if torch.cuda.is_available():
        return torch.cuda.get_device_name(0)
    return f'{platform.machine()}, {os.cpu_count()} cores'


class Processes:
    """Runs tools, at most ``jobs`` on each device at a time.

    Importing mmagic takes 10 to 30 s of a core: one process does, and the others are copies of it.

    Args:
        jobs (int): Processes a device, or on the CPU.
        root (Path): The folder that holds ``tools``.
        threads (int, optional): Of each process. Defaults to None: they share the cores.
    """

    def __init__(self, jobs: int, root: Path, threads: Optional[int] = None):
        self.root = root
        visible = os.environ.get('CUDA_VISIBLE_DEVICES') or ','.join(map(str, range(torch.cuda.device_count())))
        devices = visible.split(',') if torch.cuda.device_count() else ['']
        self.count = jobs * len(devices)
        self._free, self._running, self._stopped = queue.SimpleQueue(), set(), False
        self._lock = threading.Lock()
        os.environ['OMP_NUM_THREADS'] = str(threads or max(1, os.cpu_count() // self.count))
        self._context = multiprocessing.get_context('forkserver')
        self._context.set_forkserver_preload(['mmsampriors.compat', 'mmagic.models', 'mmsampriors.engine'])
        for device in devices * jobs:
            self._free.put(device)

    def warm_up(self):
        """Lets the process that the others are copied from begin its imports, without their warnings; does not wait."""
        with mock.patch.dict(os.environ, PYTHONWARNINGS='ignore'):
            forkserver.ensure_running()

    def run(self, command: list, log: Path):
        """Runs a tool to its end.

        Args:
            command (list[str]): Tool, below ``root``, and its arguments. It starts in the folder of this process.
            log (Path): File that takes what it prints.

        Raises:
            RuntimeError: It failed; the message ends with its last lines.
        """
        device = self._free.get()
        environment = dict(CUDA_VISIBLE_DEVICES=device) if device else {}
        log.parent.mkdir(parents=True, exist_ok=True)
        try:
            process = self._start([str(self.root / command[0]), *map(str, command[1:])], log, environment)
            process.join()
            self._running.discard(process)
        finally:
            self._free.put(device)
        if process.exitcode:
            last = '\n'.join(log.read_text(errors='replace').splitlines()[-12:])
            raise RuntimeError(
                f'{" ".join(map(str, command))} failed with {process.exitcode}; the end of {log}:\n{last}'
            )

    def _start(self, command, log, environment):
        with self._lock:
            if self._stopped:
                raise RuntimeError('stopped')
            self.warm_up()
            process = self._context.Process(target=start_tool, args=(command, (str(log), str(log)), environment))
            process.start()
            self._running.add(process)
        return process

    def stop(self):
        """Ends what runs, with its loader processes; nothing is started afterwards."""
        with self._lock:
            self._stopped = True
            for process in list(self._running):
                # One that has just been started is no group of its own yet.
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.kill()


def start_tool(command: List[str], outputs: Tuple[str, str], environment: Dict[str, str]):
    """What a process does: the tool as its main program, with a session and an output of its own.

    It ends with the process that it was copied from, and so with whoever asked for it, however that ends.

    Args:
        command (list[str]): The tool's file and its arguments.
        outputs (tuple[str, str]): Files at whose end standard output and error go; they may be the same.
        environment (dict[str, str]): Variables beside those that are there.
    """
    os.setsid()
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    for stream, path in enumerate(outputs, 1):
        os.dup2(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644), stream)
    os.environ.update(environment)
    sys.argv = command
    sys.path[0] = str(Path(command[0]).parent)
    runpy.run_path(command[0], run_name='__main__')


def run_trials(trials: List[Trial], processes: Processes, out: Path) -> float:
    """Carries out what is not done yet.

    Args:
        trials (list[Trial]): What is to be trained and tested.
        processes (Processes): What runs the tools.
        out (Path): Folder of the comparison.

    Returns:
        float: Seconds that stored masks took, once for all.

    Raises:
        RuntimeError: A tool failed; the others are done.
    """
    seconds = _fill_masks(next(trial for trial in trials if trial.baseline == 'spd'), processes, out)
    with ThreadPoolExecutor(processes.count) as pool:
        failures = failures_of([pool.submit(_carry_out, trial, processes) for trial in trials], pool, processes)
    if failures:
        raise RuntimeError('\n\n'.join(map(str, failures)))
    return seconds


def failures_of(futures: List[Future], pool: ThreadPoolExecutor, processes: Processes) -> List[BaseException]:
    """Waits for the jobs of a pool, and gives the errors of those that failed; an interrupt ends all of them."""
    try:
        return [future.exception() for future in as_completed(futures) if future.exception()]
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        processes.stop()
        raise


def _fill_masks(trial, processes, out):
    """Before any training, so that none of them waits for masks and all of that time is known."""
    timing = out / 'masks.json'
    if not is_a(Config.fromfile(trial.config).model.spd.masks, 'CachedMasks'):
        return 0.0
    if not timing.is_file():
        begin = time.perf_counter()
        processes.run(['tools/cache_masks.py', trial.config], out / 'masks.log')
        write_whole(str(timing), json.dumps(dict(seconds=time.perf_counter() - begin)) + '\n')
    return json.loads(timing.read_text())['seconds']


def _carry_out(trial: Trial, processes: Processes):
    if not trial.checkpoint.is_file():
        resume = ['--resume'] if (trial.work_dir / 'last_checkpoint').is_file() else []
        processes.run(['tools/train.py', trial.config, *resume], trial.work_dir / 'train.log')
    tested = trial.work_dir / 'test'
    if not (tested / 'test_results.json').is_file():
        command = ['tools/test.py', trial.config, trial.checkpoint, '--work-dir', tested]
        processes.run(command, trial.work_dir / 'test.log')

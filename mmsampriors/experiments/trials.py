"""Running the trainings of an experiment as processes."""

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
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import suppress
from pathlib import Path
from typing import List

import torch
from mmengine.config import Config

from mmsampriors.files import write_whole
from mmsampriors.registry import is_a

from .baselines import Trial


def hardware() -> str:
    """What the rows call this machine."""
    if torch.cuda.is_available():
        return torch.cuda.get_device_name(0)
    return f'{platform.machine()}, {os.cpu_count()} cores'


class Processes:
    """Runs tools, at most ``jobs`` on each device at a time.

    Args:
        jobs (int): Processes a device, or on the CPU.
        root (Path): The folder that holds ``tools``.
    """

    def __init__(self, jobs: int, root: Path):
        self.root = root
        visible = os.environ.get('CUDA_VISIBLE_DEVICES') or ','.join(map(str, range(torch.cuda.device_count())))
        devices = visible.split(',') if torch.cuda.device_count() else ['']
        self.count = jobs * len(devices)
        self._free, self._running, self._stopped = queue.SimpleQueue(), set(), False
        self._lock = threading.Lock()
        os.environ['OMP_NUM_THREADS'] = str(max(1, os.cpu_count() // self.count))
        # Importing mmagic takes 10 to 30 s of a core: one process does, and the others are copies of it.
        self._context = multiprocessing.get_context('forkserver')
        self._context.set_forkserver_preload(['mmsampriors.compat', 'mmagic.models', 'mmsampriors.engine'])
        for device in devices * jobs:
            self._free.put(device)

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
            process = self._start(list(map(str, command)), log, environment)
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
            process = self._context.Process(target=start_tool, args=(command, str(log), environment, str(self.root)))
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


def start_tool(command, log, environment, root):
    """What a process does: the tool as its main program, with a session and an output of its own."""
    os.setsid()
    with open(log, 'a') as file:
        for stream in (1, 2):
            os.dup2(file.fileno(), stream)
    os.environ.update(environment)
    tool = Path(root) / command[0]
    sys.argv = [str(tool), *command[1:]]
    sys.path[0] = str(tool.parent)
    runpy.run_path(str(tool), run_name='__main__')


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
        futures = [pool.submit(_carry_out, trial, processes) for trial in trials]
        try:
            failures = [future.exception() for future in as_completed(futures) if future.exception()]
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            processes.stop()
            raise
    if failures:
        raise RuntimeError('\n\n'.join(map(str, failures)))
    return seconds


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

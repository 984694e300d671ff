"""The tools of the project as processes that can be killed: copies of one process that has imported mmagic."""

import multiprocessing
import os
import signal
import socket
import time
from contextlib import suppress
from multiprocessing import forkserver
from pathlib import Path
from typing import Callable, NamedTuple, Optional

from mmsampriors.experiments.processes import run_tool

ROOT = Path(__file__).resolve().parents[2]
POLL_SECONDS = 0.005
#: A run that takes longer hangs.
LIMIT_SECONDS = 900
#: Tools that join a process group. The others share their work without one.
LAUNCHED = ('tools/train.py', 'tools/test.py')


class Ended(NamedTuple):
    """How a run ended: its exit code, its seconds, whether it was killed by us, and what it printed."""

    code: int
    seconds: float
    killed: bool
    printed: str


class Tools:
    """Starts tools, one run at a time."""

    def __init__(self):
        self._context = multiprocessing.get_context('forkserver')
        self._context.set_forkserver_preload(['mmsampriors.compat', 'mmagic.models', 'mmsampriors.engine'])
        os.environ.update(OMP_NUM_THREADS='1', MKL_NUM_THREADS='1', CUDA_VISIBLE_DEVICES='-1', PYTHONPATH=str(ROOT))
        forkserver.ensure_running()
        # The first process waits for the imports, which no time that is measured is to hold.
        first = self._context.Process(target=int)
        first.start()
        first.join()

    def run(self, command: list, log: Path, processes: int = 1, kill_when: Optional[Callable] = None) -> Ended:
        """Runs a tool to its end, or kills it (-9), all its processes at once.

        Args:
            command (list): Script below the root of the checkout, and its arguments.
            log (Path): File that takes what it prints.
            processes (int): More than one are a process group, as torchrun starts it.
            kill_when (callable, optional): Takes the seconds since the start; True kills.
        """
        log.parent.mkdir(parents=True, exist_ok=True)
        log.write_text('')
        group = dict(MASTER_ADDR='127.0.0.1', MASTER_PORT=str(_free_port()), WORLD_SIZE=str(processes))
        ranks = [{**group, 'RANK': str(rank), 'LOCAL_RANK': str(rank)} for rank in range(processes)]
        command, alone = list(map(str, command)), processes == 1
        if not alone and command[0] in LAUNCHED:
            command += ['--launcher', 'pytorch']
        started = [
            self._context.Process(target=_run_quickly, args=(command, str(log), {} if alone else rank, str(ROOT)))
            for rank in ranks
        ]
        begin, killed = time.monotonic(), False
        for process in started:
            process.start()
        while any(process.is_alive() for process in started):
            seconds = time.monotonic() - begin
            killed = killed or bool(kill_when and kill_when(seconds)) or seconds > LIMIT_SECONDS
            # Where one of a group has died, torchrun ends the others.
            if killed or any(process.exitcode for process in started):
                for process in started:
                    _kill(process)
                break
            time.sleep(POLL_SECONDS)
        for process in started:
            process.join()
        codes = [process.exitcode for process in started]
        code = next((code for code in codes if code not in (0, -signal.SIGKILL)), next(filter(None, codes), 0))
        return Ended(code, time.monotonic() - begin, killed and any(codes), log.read_text(errors='replace'))


def _kill(process):
    # One that has just been started is no group of its own yet.
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.kill()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        return probe.getsockname()[1]


def _run_quickly(*arguments):
    """Runs a tool without what takes mmengine seconds at each checkpoint and start, and changes no result.

    That is the layout of the config's text, which goes into checkpoints, and the versions of what is installed.
    """
    import mmengine.config.config
    import mmengine.runner.runner

    mmengine.config.config.FormatCode = lambda text, **kwargs: (text, True)
    mmengine.runner.runner.collect_env = dict
    run_tool(*arguments)

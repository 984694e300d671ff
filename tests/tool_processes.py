"""The real tools as processes of their own: copies of one process that has imported PyTorch and mmagic.

A fresh Python takes 5 to 20 seconds of a core for these imports. What is asked of the start itself (what is imported,
what is printed first, how much memory it takes) is asked of a fresh Python, with ``subprocess``.
"""

import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
import warnings
from contextlib import contextmanager, suppress
from multiprocessing import forkserver
from pathlib import Path
from typing import Optional
from unittest import mock

ROOT = Path(__file__).resolve().parents[1]
PRELOADED = [
    'mmsampriors.compat',
    'mmagic.models',
    'mmsampriors.engine',
    'mmsampriors.experiments.trials',
    'tool_processes',
]


def run_as_process(command: list, *, cwd: Path, env: Optional[dict] = None, timeout: float = 900):
    """Runs a tool to its end, as ``subprocess.run`` does with text captured.

    Args:
        command (list): Script, below the root of the checkout or absolute, and its arguments.
        cwd (Path): The folder that it starts in.
        env (dict, optional): Variables that it sees beside those of the tests.
        timeout (float): Seconds, after which it is killed with the processes that it started.

    Raises:
        TimeoutExpired: It was.
    """
    with started_process(command, cwd=cwd, env=env) as (process, printed):
        process.join(timeout)
        if process.exitcode is None:
            raise subprocess.TimeoutExpired(command, timeout, *(path.read_bytes() for path in printed))
        return subprocess.CompletedProcess(
            process.args, process.exitcode, *(path.read_text(errors='replace') for path in printed)
        )


def fork_server() -> multiprocessing.context.BaseContext:
    """The one process from which those of all tests are copied, on the CPU; it is started where it is not there."""
    context = multiprocessing.get_context('forkserver')
    context.set_forkserver_preload(PRELOADED)
    # The server takes these from the process that starts it.
    path = os.pathsep.join([str(ROOT), str(ROOT / 'tests')])
    with mock.patch.dict(os.environ, CUDA_VISIBLE_DEVICES='-1', OMP_NUM_THREADS='1', PYTHONPATH=path):
        forkserver.ensure_running()
    return context


@contextmanager
def started_process(command: list, *, cwd: Path, env: Optional[dict] = None):
    """Starts a tool, and gives its process and the files of what it prints; in the end all that it started is killed.

    The arguments are those of :func:`run_as_process`.
    """
    args = [str(ROOT / command[0]), *map(str, command[1:])]
    variables = {**os.environ, 'OMP_NUM_THREADS': '1', 'CUDA_VISIBLE_DEVICES': '-1', **(env or {})}
    context = fork_server()
    with tempfile.TemporaryDirectory() as folder:
        printed = [Path(folder, name) for name in ('stdout', 'stderr')]
        for path in printed:
            path.touch()
        process = context.Process(target=_run, args=(args, str(cwd), variables, list(map(str, printed))))
        process.args = args
        process.start()
        try:
            yield process, printed
        finally:
            if process.exitcode is None:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.kill()
                process.join()


def _run(command, cwd, variables, printed):
    from mmsampriors.experiments.trials import start_tool  # here, where mmagic is imported already

    os.chdir(cwd)
    os.environ.clear()
    if variables.get('PYTHONWARNINGS') == 'ignore':
        warnings.simplefilter('ignore')
    sys.path[1:1] = filter(None, variables.get('PYTHONPATH', '').split(os.pathsep))
    start_tool(command, printed, variables)

"""The real tools as processes of their own: copies of one process that has imported PyTorch and mmagic.

A fresh Python takes 5 to 20 seconds of a core for these imports. What is asked of the start itself (what is imported,
what is printed first, how much memory it takes) is asked of a fresh Python, with ``subprocess``.
"""

import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
import tempfile
import warnings
from contextlib import suppress
from multiprocessing import forkserver
from pathlib import Path
from typing import Optional

ROOT = Path(__file__).resolve().parents[1]
PRELOADED = ['mmsampriors.compat', 'mmagic.models', 'mmsampriors.engine', 'tool_processes']


class ToolProcess:
    """A tool that runs; the names are those of ``subprocess.Popen``.

    Args:
        command (list): Script, below the root of the checkout or absolute, and its arguments.
        cwd (Path): The folder that it starts in.
        env (dict, optional): Variables that it sees beside those of the tests.
    """

    def __init__(self, command: list, *, cwd: Path, env: Optional[dict] = None):
        self.args = [str(ROOT / command[0]), *map(str, command[1:])]
        self._printed = tempfile.TemporaryDirectory()
        files = [str(Path(self._printed.name) / name) for name in ('stdout', 'stderr')]
        for file in files:
            Path(file).touch()
        self._files = [Path(file) for file in files]
        context = multiprocessing.get_context('forkserver')
        context.set_forkserver_preload(PRELOADED)
        # The server takes these from the process that starts it.
        with _environment(CUDA_VISIBLE_DEVICES='-1', PYTHONPATH=os.pathsep.join([str(ROOT), str(ROOT / 'tests')])):
            forkserver.ensure_running()
        variables = {**os.environ, 'OMP_NUM_THREADS': '1', 'CUDA_VISIBLE_DEVICES': '-1', **(env or {})}
        self._process = context.Process(target=_run, args=(self.args, str(cwd), variables, files))
        self._process.start()
        self.pid = self._process.pid

    @property
    def stdout(self) -> str:
        """What it has printed until now."""
        return self._files[0].read_text(errors='replace')

    @property
    def stderr(self) -> str:
        """What it has printed on standard error until now."""
        return self._files[1].read_text(errors='replace')

    @property
    def returncode(self) -> Optional[int]:
        """The exit status, None while it runs."""
        return self._process.exitcode

    def wait(self, timeout: float = 900):
        """Waits for the end; past ``timeout`` seconds it is killed and ``TimeoutExpired`` raised."""
        self._process.join(timeout)
        if self._process.exitcode is None:
            self.kill()
            raise subprocess.TimeoutExpired(self.args, timeout, self.stdout, self.stderr)

    def kill(self):
        """Kills it (-9) with the processes that it started."""
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self._process.kill()
        self._process.join()


def run_tool(command: list, *, cwd: Path, env: Optional[dict] = None, timeout: float = 900):
    """Runs a tool to its end, as ``subprocess.run`` does with text captured."""
    process = ToolProcess(command, cwd=cwd, env=env)
    process.wait(timeout)
    return subprocess.CompletedProcess(process.args, process.returncode, process.stdout, process.stderr)


class _environment:
    """Environment variables for a time."""

    def __init__(self, **variables):
        self.variables = variables

    def __enter__(self):
        self.before = dict(os.environ)
        os.environ.update(self.variables)

    def __exit__(self, *exception):
        os.environ.clear()
        os.environ.update(self.before)


def _run(command, cwd, variables, files):
    os.setsid()
    for stream, path in enumerate(files, 1):
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND)
        os.dup2(descriptor, stream)
    os.environ.clear()
    os.environ.update(variables)
    os.chdir(cwd)
    if variables.get('PYTHONWARNINGS') == 'ignore':
        warnings.simplefilter('ignore')
    sys.argv = command
    sys.path[0] = str(Path(command[0]).parent)
    sys.path[1:1] = filter(None, variables.get('PYTHONPATH', '').split(os.pathsep))
    runpy.run_path(command[0], run_name='__main__')

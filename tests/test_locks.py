"""One process at a time."""

import subprocess
import sys

import pytest

from mmsampriors.files import locked

HOLD = """
import os, sys
from mmsampriors.files import locked
with locked(sys.argv[1], 'a training'):
    if os.fork():
        print(os.getpid(), flush=True)
    sys.stdin.read()
"""


def test_a_lock_ends_with_its_process_and_not_with_its_children(tmp_path):
    command = [sys.executable, '-c', HOLD, tmp_path]
    holder = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    number = holder.stdout.readline().strip()
    with pytest.raises(RuntimeError, match=rf'a training is going on in {tmp_path} already \(process {number} on '):
        with locked(tmp_path, 'a training'):
            pass
    holder.kill()
    holder.wait()
    with locked(tmp_path, 'a training'):  # the child lives
        pass
    holder.stdin.close()

"""One process at a time."""

import subprocess
import sys

import pytest

from mmsampriors.files import FOLDER, LOCK, locked

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


def test_a_link_in_place_of_the_lock_empties_nothing(tmp_path):
    (tmp_path / 'mine').write_text('mine')
    (tmp_path / 'run' / FOLDER).mkdir(parents=True)
    (tmp_path / 'run' / FOLDER / LOCK).symlink_to(tmp_path / 'mine')
    with pytest.raises(OSError, match=f'{FOLDER}/{LOCK}'), locked(tmp_path / 'run', 'a training'):
        pass
    assert (tmp_path / 'mine').read_text() == 'mine'

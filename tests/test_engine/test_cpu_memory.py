import platform
import subprocess
import sys

import pytest
import torch

from mmsampriors.engine import optim

# The file alone: importing the package imports mmagic.
STEPS = """
import resource
from runpy import run_path
import torch
assert {default} or run_path({path!r})['keep_freed_memory']()
def step():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    tensors = [torch.ones(10 * 2**20) for _ in range(4)]
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
print([step() for _ in range(8)][-1])  # the heap settles in the first steps
"""


@pytest.mark.skipif(platform.libc_ver()[0] != 'glibc' or torch.cuda.is_available(), reason='of glibc, without a GPU')
def test_what_is_freed_is_there_for_the_next_step():

    def faults(default):
        script = STEPS.format(default=default, path=optim.__file__)
        return int(subprocess.run([sys.executable, '-c', script], check=True, capture_output=True, text=True).stdout)

    # 160 MB are 40,960 pages.
    assert faults(default=False) < 1000 < faults(default=True)

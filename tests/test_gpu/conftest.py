"""What only a GPU shows. Without one every test here is skipped, and says so.

``MMSAMPRIORS_TEST_DEVICE=cpu`` runs on the CPU what can run there, to try the tests themselves. With
``GPU_CHECK_STARTED`` (set by .dev_scripts/gpu_check.sh) each result is printed as a line of JSON too.
"""

import json
import os
import sys
from pathlib import Path

import pytest
import torch

TESTS = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(TESTS / 'test_masks' / 'test_sam'))  # small_sam.py
DEVICE = torch.device(os.environ.get('MMSAMPRIORS_TEST_DEVICE', 'cuda'))


def pytest_collection_modifyitems(items):
    here = [item for item in items if Path(item.path).is_relative_to(Path(__file__).parent)]
    for item in here:
        on_cpu = DEVICE.type == 'cpu' and not item.get_closest_marker('gpu')
        if not on_cpu and not torch.cuda.is_available():
            item.add_marker(pytest.mark.skip(reason='torch.cuda finds no GPU on this machine'))


def pytest_configure(config):
    if 'GPU_CHECK_STARTED' in os.environ:
        config.pluginmanager.register(Lines(config), 'gpu_check_lines')


class Lines:
    """Prints each result as a row of gpu_check."""

    def __init__(self, config):
        self.config = config

    def pytest_runtest_logreport(self, report):
        if report.when != 'call' and report.outcome == 'passed':
            return
        row = dict(name=report.nodeid, outcome=report.outcome, seconds=round(report.duration, 2))
        if report.outcome == 'skipped' and isinstance(report.longrepr, tuple):
            row['reason'] = report.longrepr[2]
        elif report.outcome == 'failed':
            row['reason'] = str(report.longrepr)[-800:]
        # on lines of their own: pytest's dots have no end
        self.config.pluginmanager.getplugin('terminalreporter').write(f'\n{json.dumps(row)}\n')


@pytest.fixture
def device():
    return DEVICE


@pytest.fixture
def exact():
    """Full float32: convolutions would be TF32 by default, with three decimal digits."""
    matmul, convolutions = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    yield
    torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = matmul, convolutions

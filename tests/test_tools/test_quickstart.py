"""The quickstart, with a few steps: interrupted, resumed, and looked at."""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
import torch
from PIL import Image

from mmsampriors.quickstart import Plan
from mmsampriors.quickstart.progress import Console
from mmsampriors.quickstart.trainings import make_processes, train_all

ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.slow


def start(out):
    environment = {**os.environ, 'OMP_NUM_THREADS': '1', 'CUDA_VISIBLE_DEVICES': '-1'}
    command = [
        sys.executable,
        '-W',
        'ignore',
        ROOT / 'tools' / 'quickstart.py',
        '--out',
        out,
        '--first',
        '60',
        '--refiner',
        '4',
        '--then',
        '4',
    ]
    return subprocess.Popen(
        map(str, command), env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def kill_where(run, reached):
    """Kills the quickstart, as a machine that is switched off does, when a condition holds."""
    deadline = time.time() + 600
    while not reached() and run.poll() is None and time.time() < deadline:
        time.sleep(0.1)
    assert reached() and run.poll() is None
    run.send_signal(signal.SIGKILL)
    run.communicate()


def trainings_below(out):
    """Processes that have a log of the quickstart open."""
    logs, found = {str(path) for path in out.glob('quickstart_*.log')}, []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            found += [process.pid] if logs & {file.path for file in process.open_files()} else []
    return found


def test_quickstart_is_killed_twice_and_goes_on(tmp_path):
    out = tmp_path / 'with space'
    kill_where(start(out), (out / 'first' / 'last_checkpoint').exists)
    kill_where(start(out), lambda: (out / 'plain').exists() and trainings_below(out))
    assert 'resumed epoch: 0, iter: ' in (out / 'quickstart_first.log').read_text()
    deadline = time.time() + 30
    while trainings_below(out) and time.time() < deadline:
        time.sleep(0.1)
    assert not trainings_below(out), 'they end with the process that started them'

    printed, errors = start(out).communicate(timeout=900)
    metrics = json.loads((out / 'metrics.json').read_text())
    assert set(metrics) == {'rain', 'heavier_rain'}
    assert all(set(one) == {'input', 'first', 'plain', 'spd', 'refined'} for one in metrics.values())
    metrics = metrics['rain']
    gain = metrics['spd']['PSNR'] - metrics['input']['PSNR']
    assert ('4.0 dB were expected' in errors) == (gain < 4)
    assert 'student before' in printed and 'plain, equal updates' in printed
    assert ('BELOW plain training in rain' in printed) == (metrics['spd']['PSNR'] < metrics['plain']['PSNR'])
    assert 'mmengine' not in printed + errors  # chatter is in the logs
    assert '100%' in errors and 'tools/restore.py' in printed
    assert all(min(Image.open(out / name).size) > 300 for name in ('panel.png', 'curves.png'))
    assert torch.load(out / 'student.pth', weights_only=True)['state_dict']
    assert "type='BaseEditModel'" in (out / 'student.py').read_text()


def test_a_training_that_fails_ends_the_quickstart_and_names_its_log(tmp_path):
    plan = Plan(str(ROOT / 'configs' / 'spd' / 'quickstart.py'), str(tmp_path), first=1, refiner=1, then=1)
    # There are no pairs.
    with pytest.raises(RuntimeError, match='train.py .*first.py failed with 1; the end of .*quickstart_first.log'):
        train_all(plan, make_processes(plan), Console(str(tmp_path / 'log'), 1))
    assert 'there is no such folder' in (tmp_path / 'quickstart_first.log').read_text()

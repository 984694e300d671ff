"""The quickstart, with a few steps: interrupted, resumed, and looked at."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from PIL import Image

from mmsampriors.quickstart import Plan
from mmsampriors.quickstart.trainings import PlainTraining

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


def test_quickstart_is_killed_twice_and_goes_on(tmp_path):
    out = tmp_path / 'with space'
    log, plain_log = out / 'quickstart.log', out / 'quickstart_plain.log'
    kill_where(start(out), (out / 'first' / 'last_checkpoint').exists)
    kill_where(start(out), (out / 'plain').exists)
    assert 'resumed epoch: 0, iter: 50' in log.read_text()
    # The process beside it notices that it is alone, and ends.
    deadline = time.time() + 120
    while 'BrokenPipeError' not in plain_log.read_text() and time.time() < deadline:
        time.sleep(0.1)
    assert 'BrokenPipeError' in plain_log.read_text()

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


def test_a_plain_training_that_fails_ends_the_quickstart_and_names_its_log(tmp_path):
    plan = Plan(str(tmp_path / 'no_such_config.py'), str(tmp_path), first=1, refiner=1, then=1)
    with PlainTraining(plan) as beside:
        with pytest.raises(RuntimeError, match='failed: .*no_such_config.py.*its log is .*quickstart_plain.log'):
            beside.wait()
    assert 'no_such_config.py' in (tmp_path / 'quickstart_plain.log').read_text()

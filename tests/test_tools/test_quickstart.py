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


def test_quickstart_is_killed_and_goes_on(tmp_path):
    out = tmp_path / 'with space'
    run, deadline = start(out), time.time() + 600
    while not (out / 'first' / 'last_checkpoint').exists() and run.poll() is None and time.time() < deadline:
        time.sleep(0.1)
    run.send_signal(signal.SIGKILL)
    run.communicate()
    assert (out / 'first' / 'last_checkpoint').exists()

    printed, errors = start(out).communicate(timeout=900)
    assert 'resumed epoch: 0, iter: 50' in (out / 'quickstart.log').read_text()
    metrics = json.loads((out / 'metrics.json').read_text())
    assert set(metrics) == {'input', 'first', 'plain', 'spd', 'refined'}
    gain = metrics['spd']['PSNR'] - metrics['input']['PSNR']
    assert ('1.0 dB were expected' in errors) == (gain < 1)
    assert 'student before' in printed and 'plain, equal steps' in printed
    assert ('BELOW plain' in printed) == (metrics['spd']['PSNR'] < metrics['plain']['PSNR'])
    assert all(min(Image.open(out / name).size) > 300 for name in ('panel.png', 'curves.png'))
    assert torch.load(out / 'student.pth', weights_only=True)['state_dict']
    assert "type='BaseEditModel'" in (out / 'student.py').read_text()

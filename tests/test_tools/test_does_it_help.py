"""tools/analysis_tools/does_it_help.py as a process, at a size that means nothing."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def call(*arguments, fails=False):
    command = [sys.executable, 'tools/analysis_tools/does_it_help.py', *map(str, arguments)]
    environment = {**os.environ, 'OMP_NUM_THREADS': '1', 'CUDA_VISIBLE_DEVICES': '-1', 'PYTHONPATH': str(ROOT)}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=1800)
    assert bool(done.returncode) is fails, done.stdout[-2000:] + done.stderr[-3000:]
    return done.stdout + done.stderr


@pytest.fixture
def config(pairs, tmp_path):
    """DnCNN on the tests' pairs, 16 iterations."""
    path, root = tmp_path / 'mine.py', str(pairs)
    path.write_text(f"""
_base_ = [
    'mmsampriors::_base_/spd.py',
    'mmsampriors::_base_/schedules/tiny.py',
    'mmsampriors::_base_/models/dncnn_tiny.py',
]
model = dict(type='mmsampriors.SPDModel', spd=_base_.spd)
custom_hooks = _base_.spd_hooks
train_dataloader = dict(dataset=dict(data_root={root!r}))
val_dataloader = dict(dataset=dict(data_root={root!r}))
test_dataloader = val_dataloader
train_cfg = dict(max_iters=16, val_interval=16)
default_hooks = dict(logger=dict(interval=1), checkpoint=dict(save_best=None))
""")
    return path


@pytest.mark.slow
@pytest.mark.long
def test_it_says_whether_it_helps_and_goes_on_where_it_was(config, pairs, tmp_path):
    command = [config, '--seeds', 1, '--iters', 8, '--work-dir', tmp_path / 'out', '--unlabeled', pairs / 'input']
    options = ['--cfg-options', f'model.spd.masks.cache_dir={tmp_path / "masks"}', 'model.spd.sgr=None']
    assert 'that is more than --hours' in call(*command, '--hours', 1e-9, *options, fails=True)
    said = call(*command, *options)
    assert 'dB from plain training on' in said and 'times plain training.' in said
    (tmp_path / 'out' / 'verdict.md').unlink()
    checkpoints = {path: path.stat().st_mtime_ns for path in (tmp_path / 'out').rglob('iter_8.pth')}
    assert len(checkpoints) == 3
    assert 'times plain training.' in call(*command, *options)
    assert {path: path.stat().st_mtime_ns for path in checkpoints} == checkpoints, 'nothing is trained again'

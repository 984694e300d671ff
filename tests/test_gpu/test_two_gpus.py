"""Two processes with NCCL (on the CPU with gloo) beside one process with twice the batch."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from mmengine.config import Config

ROOT = Path(__file__).resolve().parents[2]


def train(cfg, path, processes):
    """Runs tools/train.py on a config, as a user would."""
    Config(cfg).dump(str(path))
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        port = probe.getsockname()[1]
    launch = ['-m', 'torch.distributed.run', '--nproc_per_node', str(processes), '--master_port', str(port)]
    command = [sys.executable, *launch, str(ROOT / 'tools' / 'train.py'), str(path), '--launcher', 'pytorch']
    done = subprocess.run(
        command, env={**os.environ, 'PYTHONPATH': f'{ROOT}:{os.environ.get("PYTHONPATH", "")}'},
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return torch.load(Path(cfg['work_dir']) / 'iter_4.pth', map_location='cpu', weights_only=True)['state_dict']


def test_two_processes_do_what_one_does(runner_cfg, tmp_path, device):
    if device.type == 'cuda' and torch.cuda.device_count() < 2:
        pytest.skip('needs two GPUs')
    ends = []
    for processes in (1, 2):
        cfg = runner_cfg(
            work_dir=tmp_path / f'run_{processes}',
            optim_wrapper=dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=0.1)),
        )
        cfg.update(val_cfg=None, val_dataloader=None, val_evaluator=None)
        cfg['train_dataloader']['batch_size'] = 4 // processes
        cfg['default_hooks']['checkpoint'] = dict(type='CheckpointHook', interval=4, by_epoch=False)
        cfg['model']['spd']['masks'] = dict(
            type='CachedMasks',
            segmenter=dict(type='FelzenszwalbMasks', min_size=100),
            cache_dir=str(tmp_path / f'masks_{processes}'),
        )
        cfg['custom_hooks'] = [
            dict(type='mmsampriors.MaskCacheHook'),
            dict(type='mmsampriors.ExactResumeHook'),
            dict(type='mmsampriors.SPDScheduleHook'),
        ]
        ends.append(train(cfg, tmp_path / f'run_{processes}.py', processes))
        assert len(list((tmp_path / f'masks_{processes}').rglob('*.masks'))) == 4
    one, two = ends
    assert one.keys() == two.keys()
    for name in one:
        torch.testing.assert_close(two[name], one[name], rtol=1e-3, atol=1e-4)

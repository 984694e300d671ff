"""A training that is killed leaves no worker of its loaders behind."""

import signal
import socket
import time
from contextlib import ExitStack

import numpy as np
import psutil
import pytest
import skimage.data
from PIL import Image
from tool_processes import started_process

CONFIG = """
_base_ = ['mmagic::nafnet/nafnet_c64eb11128mb1db1111_8xb8-lr1e-3-400k_gopro.py', 'mmsampriors::_base_/spd.py']
model = dict(
    type='mmsampriors.SPDModel',
    spd={**_base_.spd, 'feature_extractor': None, 'losses': {**_base_.spd.losses, 'sgr': None},
         'masks': dict(type='CachedMasks', segmenter=dict(type='FelzenszwalbMasks', min_size=5), cache_dir='masks')},
    generator=dict(type='NAFNet', mid_channels=4, enc_blk_nums=[1], dec_blk_nums=[1], middle_blk_num=1))
custom_hooks = _base_.get('custom_hooks', []) + _base_.spd_hooks
train_pipeline = [
    dict(type='LoadImageFromFile', key='img'),
    dict(type='LoadImageFromFile', key='gt'),
    dict(type='SetValues', dictionary=dict(scale=1)),
    dict(type='PairedRandomCrop', gt_patch_size=256),
    dict(type='PackInputs')]
pairs = dict(data_root='pairs', ann_file='', data_prefix=dict(img='input', gt='target'))
train_dataloader = dict(batch_size=4, dataset=dict(pipeline=train_pipeline, **pairs))
val_dataloader = dict(num_workers=0, dataset=pairs)
test_dataloader = val_dataloader
train_cfg = dict(max_iters=400000, val_interval=400000)
default_hooks = dict(logger=dict(interval=1), checkpoint=dict(save_best=None))
"""


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """A user's folder: a config, and pairs whose masks are many, so that those of a batch do not fit into a pipe."""
    folder = tmp_path_factory.mktemp('user')
    (folder / 'config.py').write_text(CONFIG)
    rng = np.random.default_rng(0)
    for index, image in enumerate((skimage.data.chelsea(), skimage.data.coffee())):
        target = image[:280, :300]
        lq = np.clip(target + rng.normal(0, 20, target.shape), 0, 255).astype(np.uint8)
        for kind, pixels in (('input', lq), ('target', target)):
            (folder / 'pairs' / kind).mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(folder / 'pairs' / kind / f'{index}.png')
    return folder


def until(condition, what: str, seconds: float = 120):
    """Waits for a condition, and gives its value."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        value = condition()
        if value:
            return value
        time.sleep(0.05)
    raise AssertionError(f'after {seconds} seconds: not {what}')


def training(folder, work_dir, workers, **env):
    """Starts a training."""
    command = ['tools/train.py', 'config.py', '--work-dir', work_dir, '--no-check']
    if env:
        command += ['--launcher', 'pytorch']
    options = ['--cfg-options', f'train_dataloader.num_workers={workers}']
    return started_process([*command, *options], cwd=folder, env=dict(PYTHONWARNINGS='ignore', **env))


def workers_of(process, printed, count):
    """The workers of a process that trains, once it does."""
    out, err = printed
    trains = until(lambda: process.exitcode is not None or 'Iter(train)' in out.read_text(), 'training')
    assert trains and process.exitcode is None, err.read_text()[-2000:]
    children = until(lambda: _children(process.pid, count), f'{count} workers')
    assert len(children) == count
    return children


def _children(pid, count):
    found = psutil.Process(pid).children(recursive=True)
    return found if len(found) >= count else None


def assert_gone(processes):
    """All end within ten seconds, as plain mmagic's do."""
    try:
        until(lambda: not any(map(_is_alive, processes)), 'all workers gone', 10)
    finally:
        for process in filter(_is_alive, processes):
            process.kill()


def _is_alive(process):
    try:  # nobody asks how an orphan ended in a container without an init process
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.mark.parametrize(
    'signal_number, workers',
    [
        (signal.SIGKILL, 2),
        *(
            pytest.param(*values, marks=pytest.mark.slow)
            for values in ((signal.SIGKILL, 1), (signal.SIGTERM, 2), (signal.SIGINT, 2))
        ),
    ],
)
def test_workers_end_with_the_training(folder, tmp_path, signal_number, workers):
    with training(folder, tmp_path / 'run', workers) as (process, printed):
        children = workers_of(process, printed, workers)
        psutil.Process(process.pid).send_signal(signal_number)
        process.join(20)
        assert process.exitcode
        assert_gone(children)


@pytest.mark.slow
@pytest.mark.parametrize('signal_number', [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_workers_of_two_processes_end_with_one_of_them(folder, tmp_path, signal_number):
    """The other one ends as the collective fails."""
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        port = probe.getsockname()[1]
    with ExitStack() as stack:
        group = dict(MASTER_ADDR='127.0.0.1', MASTER_PORT=str(port), WORLD_SIZE='2')
        ranks = [
            stack.enter_context(training(folder, tmp_path / 'run', 2, RANK=str(rank), LOCAL_RANK=str(rank), **group))
            for rank in range(2)
        ]
        until(lambda: 'Iter(train)' in ranks[0][1][0].read_text(), 'training')
        children = [child for process, _ in ranks for child in until(lambda: _children(process.pid, 2), 'workers')]
        psutil.Process(ranks[0][0].pid).send_signal(signal_number)
        for process, _ in ranks:
            process.join(30)
            assert process.exitcode
        assert_gone(children)

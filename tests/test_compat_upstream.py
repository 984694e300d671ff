"""What this package takes from upstream's private names is still there."""

import os

import pytest
import torch
import torch.distributed as dist
from mmagic.models import DataPreprocessor
from mmengine.dataset import DefaultSampler, InfiniteSampler
from mmengine.optim import OptimWrapper
from mmengine.runner import IterBasedTrainLoop, Runner
from torch.utils.data import DataLoader, TensorDataset

from mmsampriors.compat.upstream import (
    accumulated_iterations,
    base_files,
    decide_val_interval,
    default_store,
    is_resumed,
    normalization_of,
    restart_order,
    stop_workers,
)


def test_normalization():
    mean, std = normalization_of(DataPreprocessor(mean=[1.0, 2.0, 3.0], std=[4.0] * 3))
    assert mean.flatten().tolist() == [1, 2, 3] and std.flatten().tolist() == [4] * 3
    assert normalization_of(DataPreprocessor(mean=None, std=None)) is None


@pytest.mark.parametrize('count', [1, 3])
def test_accumulated_iterations(count):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], 0.1)
    assert accumulated_iterations(OptimWrapper(optimizer, accumulative_counts=count)) == count


def test_an_endless_order_begins_anew():
    sampler = InfiniteSampler(range(20), shuffle=True, seed=3)
    first = [index for index, _ in zip(sampler, range(5))]
    assert [index for index, _ in zip(sampler, range(5))] != first
    restart_order(sampler)
    assert [index for index, _ in zip(sampler, range(5))] == first
    restart_order(DefaultSampler(range(3)))  # has nothing to restart


def test_the_store_of_the_default_group(tmp_path):
    dist.init_process_group('gloo', init_method=f'file://{tmp_path}/rendezvous', rank=0, world_size=1)
    try:
        default_store().set('key', 'value')
        assert default_store().check(['key']) and not default_store().check(['another'])
        assert default_store().get('key') == b'value'
    finally:
        dist.destroy_process_group()


def test_workers_stop():
    class Loop(IterBasedTrainLoop):
        def __init__(self, loader):
            self.dataloader, self.dataloader_iterator = loader, iter(loader)

    loop = Loop(DataLoader(TensorDataset(torch.arange(4)), num_workers=1, persistent_workers=True))
    next(loop.dataloader_iterator)
    (worker,) = loop.dataloader._iterator._workers
    assert worker.is_alive()
    stop_workers(loop)
    worker.join(20)
    assert not worker.is_alive() and loop.dataloader_iterator is None


def test_the_loop_keeps_its_loader_where_we_look():
    source = IterBasedTrainLoop.__init__.__code__
    assert 'dataloader_iterator' in source.co_names


def test_a_resumed_run_is_known(runner_cfg):
    runner = Runner.from_cfg(runner_cfg())
    assert not is_resumed(runner)
    runner = Runner.from_cfg(runner_cfg(resume=True))
    assert is_resumed(runner)


def test_base_files(tmp_path):
    for name, text in (('a.py', ''), ('b.py', 'x = 1'), ('c.py', "_base_ = ['a.py', './b.py']")):
        (tmp_path / name).write_text(text)
    assert [os.path.normpath(path) for path in base_files(str(tmp_path / 'c.py'))] == [
        str(tmp_path / 'a.py'),
        str(tmp_path / 'b.py'),
    ]
    (tmp_path / 'd.py').write_text("_base_ = 'mmsampriors::_base_/spd.py'")
    (path,) = base_files(str(tmp_path / 'd.py'))
    assert path.endswith('_base_/spd.py')


def test_the_interval_of_validation_is_that_of_the_iteration():
    loop = IterBasedTrainLoop.__new__(IterBasedTrainLoop)
    loop.dynamic_milestones, loop.dynamic_intervals, loop._iter = [0, 5], [5, 2], 6
    decide_val_interval(loop)
    assert loop.val_interval == 2

"""Workers of data loaders end with the process that started them."""

import multiprocessing
import os
import signal
import time

import numpy as np
import psutil
import pytest
from torch.utils.data import DataLoader, Dataset

from mmsampriors.datasets.deterministic_loader import (
    EndWithParent,
    deterministic_loader,
    end_workers_with_parent,
    loader_like,
)


class Large(Dataset):
    """Samples that do not fit into a pipe, so that a worker waits until somebody reads."""

    def __len__(self):
        return 100

    def __getitem__(self, index):
        return np.full(10**6, index)


def _wait_for_the_end(connection):
    loader = DataLoader(Large(), num_workers=2, collate_fn=list)
    batches = iter(end_workers_with_parent(loader))
    next(batches)
    connection.send([child.pid for child in psutil.Process().children()])
    time.sleep(600)


def test_workers_that_nobody_reads_from_end_with_their_parent():
    ours, theirs = multiprocessing.Pipe()
    parent = multiprocessing.get_context('fork').Process(target=_wait_for_the_end, args=(theirs,))
    parent.start()
    workers = [psutil.Process(pid) for pid in ours.recv()]
    os.kill(parent.pid, signal.SIGKILL)
    parent.join()
    _, alive = psutil.wait_procs(workers, timeout=10)
    alive = [worker for worker in alive if worker.status() != psutil.STATUS_ZOMBIE]
    for worker in alive:
        worker.kill()
    assert len(workers) == 2 and not alive


def test_a_users_own_start_of_workers_is_kept():
    started = []
    loader = end_workers_with_parent(DataLoader(Large(), worker_init_fn=started.append))
    again = end_workers_with_parent(loader)
    assert again is loader and isinstance(loader.worker_init_fn.init, type(started.append))
    loader.worker_init_fn.init(3)
    assert started == [3]
    assert isinstance(end_workers_with_parent(DataLoader(Large())).worker_init_fn, EndWithParent)


@pytest.mark.parametrize('positioned', [False, True])
def test_a_loader_like_another_has_all_its_settings(positioned):
    first = DataLoader(
        Large(),
        batch_size=3,
        num_workers=2,
        collate_fn=list,
        pin_memory=True,
        timeout=7,
        worker_init_fn=print,
        multiprocessing_context='spawn',
        prefetch_factor=5,
        persistent_workers=True,
    )
    second = deterministic_loader(first, seed=0) if positioned else loader_like(first, Large(), [[0]])
    for name in ('num_workers', 'collate_fn', 'pin_memory', 'timeout', 'prefetch_factor', 'persistent_workers'):
        assert getattr(second, name) == getattr(first, name), name
    assert (second.worker_init_fn.init if positioned else second.worker_init_fn) is print
    assert second.multiprocessing_context.get_start_method() == 'spawn'

"""Processes wait for each other by notes in a store: forks of this one, with a store in a file."""

import multiprocessing
import os
import time
from datetime import timedelta

import pytest
import torch.distributed as dist

from mmsampriors.engine import distributed

FAST = dict(poll=0.02, beat=0.05)


def take_part(rank, path, results, body, lost):
    distributed.default_store = lambda: dist.FileStore(str(path), 2)
    distributed.get_dist_info = lambda: (rank, 2)
    try:
        for _ in range(2):  # what was noted at one meeting does not count at the next
            with distributed.wait_for_all_ranks('filling', lost=timedelta(seconds=lost), **FAST):
                began = time.monotonic()
                body(rank)
            results.put((rank, began, time.monotonic()))
    except (RuntimeError, OSError) as error:
        results.put((rank, type(error).__name__, str(error)))


def meet(tmp_path, body, lost=30.0):
    context = multiprocessing.get_context('fork')
    results = context.Queue()
    arguments = [(rank, tmp_path / 'store', results, body, lost) for rank in range(2)]
    processes = [context.Process(target=take_part, args=some) for some in arguments]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
        assert process.exitcode is not None, 'a process waits for ever'
    found = []
    while not results.empty():
        found.append(results.get())
    return sorted(found, key=lambda result: result[0])


def test_nobody_goes_on_before_all_are_through(tmp_path):
    def body(rank):
        time.sleep(0.5 * rank)

    found = meet(tmp_path, body)
    assert [rank for rank, *_ in found] == [0, 0, 1, 1]
    for first, second in zip(found[:2], found[2:]):
        assert first[2] - first[1] >= 0.45 and second[2] >= first[1] + 0.45


def test_where_one_fails_the_other_fails_with_its_reason(tmp_path):
    def body(rank):
        if rank:
            raise OSError('the disk is full')

    assert meet(tmp_path, body) == [
        (0, 'RuntimeError', 'filling failed in process 1: OSError: the disk is full'),
        (1, 'OSError', 'the disk is full'),
    ]


def test_a_process_that_is_killed_is_missed(tmp_path):
    def body(rank):
        if rank:
            time.sleep(0.2)  # alive for a moment
            os._exit(9)

    ((rank, kind, message),) = meet(tmp_path, body, lost=0.8)
    assert (rank, kind) == (0, 'RuntimeError')
    assert message.startswith('process 1 was lost while filling: no sign of life for 0:00:00.8')


def test_a_slow_process_that_gives_signs_of_life_is_waited_for(tmp_path):
    def body(rank):
        time.sleep(1.5 * rank)

    found = meet(tmp_path, body, lost=0.7)
    assert [rank for rank, *_ in found] == [0, 0, 1, 1]


def test_one_process_alone_waits_for_nobody(monkeypatch):
    monkeypatch.setattr(distributed, 'default_store', lambda: pytest.fail('there is no store'))
    with distributed.wait_for_all_ranks('filling'):
        pass

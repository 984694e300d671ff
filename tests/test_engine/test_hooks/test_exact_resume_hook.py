"""What the processes of ``test_processes.py`` do not show."""

import random
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.hooks import CheckpointHook
from torch.utils.data import DataLoader

from mmsampriors.engine.hooks import ExactResumeHook, resume
from mmsampriors.engine.hooks.resume import MissedValidationHook


def runner_of(loop, hooks=(), window=2, iteration=0):
    warnings = []
    return SimpleNamespace(
        train_loop=loop,
        train_dataloader=loop.dataloader,
        hooks=hooks,
        iter=iteration,
        seed=3,
        warnings=warnings,
        optim_wrapper=SimpleNamespace(_accumulative_counts=window),
        logger=SimpleNamespace(warning=warnings.append),
    )


def loader_of(samples):
    return DataLoader(samples, batch_size=2, collate_fn=list)


def test_the_loop_is_served_past_batches_for_nothing():
    loop = SimpleNamespace(dataloader=loader_of(range(6)), dataloader_iterator=None)
    ExactResumeHook().before_train(runner_of(loop, iteration=200_001))
    assert [next(loop.dataloader_iterator) for _ in range(200_001)] == [None] * 200_001
    assert [next(loop.dataloader_iterator) for _ in range(4)] == [[0, 1], [2, 3], [4, 5], [0, 1]]


@pytest.mark.parametrize('interval, cautions', [(3, 1), (4, 0), (-1, 0)])
def test_checkpoints_within_a_step_are_warned_of(interval, cautions):
    loop = SimpleNamespace(dataloader=loader_of(range(6)), dataloader_iterator=None)
    runner = runner_of(loop, [CheckpointHook(interval=interval, by_epoch=False)])
    ExactResumeHook().before_train(runner)
    assert len(runner.warnings) == cautions
    assert all('default_hooks.checkpoint.interval to a multiple' in warning for warning in runner.warnings)


def test_training_by_epochs_is_reported_what_it_misses():
    runner = runner_of(SimpleNamespace(dataloader=loader_of(range(6))))
    ExactResumeHook().before_train(runner)
    assert 'IterBasedTrainLoop' in runner.warnings[0]


def test_what_the_model_draws_is_another_on_each_rank_and_in_each_iteration(monkeypatch):
    def drawn(rank, iteration):
        monkeypatch.setattr(resume, 'get_dist_info', lambda: (rank, 2))
        loop = SimpleNamespace(dataloader=loader_of(range(6)))
        ExactResumeHook().before_train_iter(runner_of(loop, iteration=iteration), 0)
        return random.random(), np.random.rand(), torch.rand(()).item()

    draws = [drawn(rank, iteration) for rank in (0, 1) for iteration in (5, 6)]
    assert draws == [drawn(rank, iteration) for rank in (0, 1) for iteration in (5, 6)]
    for values in zip(*draws):
        assert len(set(values)) == 4


@pytest.mark.parametrize('before, now, warnings', [(1, 2, 1), (8, 1, 1), (2, 2, 0), (None, 2, 0)])
def test_another_number_of_processes_is_warned_of(monkeypatch, before, now, warnings):
    checkpoint = {}
    for world_size, runner in ((before, None), (now, runner_of(SimpleNamespace(dataloader=None)))):
        monkeypatch.setattr(resume, 'get_dist_info', lambda: (0, world_size))
        if runner is None and before is not None:
            ExactResumeHook().before_save_checkpoint(None, checkpoint)
    runner._resume = True
    ExactResumeHook().after_load_checkpoint(runner, checkpoint)
    assert len(runner.warnings) == warnings
    assert all(f'was {before} and is {now}' in warning for warning in runner.warnings)


@pytest.mark.parametrize(
    'iteration, resumed, due',
    [(4, True, True), (4, False, False), (0, True, False), (5, True, False), (7, True, True), (2, True, False)],
)
def test_a_validation_that_was_due_is_made_up_for(iteration, resumed, due):
    validated = []
    runner = SimpleNamespace(
        _resume=resumed,
        iter=iteration,
        max_iters=7,
        logger=SimpleNamespace(info=lambda text: None),
        val_loop=SimpleNamespace(run=lambda: validated.append(iteration)),
        train_loop=SimpleNamespace(val_interval=99, val_begin=3, dataloader_iterator=None),
    )
    # As mmengine's loop reads train_cfg.dynamic_intervals.
    runner.train_loop._decide_current_val_interval = lambda: setattr(runner.train_loop, 'val_interval', 2)
    MissedValidationHook().before_train(runner)
    assert bool(validated) == due


def test_training_by_epochs_and_runs_without_validation_have_none_to_make_up_for():
    loop = SimpleNamespace(val_interval=2, val_begin=1)
    runner = SimpleNamespace(_resume=True, iter=4, max_iters=4, val_loop=object(), train_loop=loop)
    MissedValidationHook().before_train(runner)
    runner.train_loop.dataloader_iterator, runner.val_loop = None, None
    MissedValidationHook().before_train(runner)

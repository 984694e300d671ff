"""What the processes of ``test_processes.py`` do not show."""

from types import SimpleNamespace

import pytest
from mmengine.hooks import CheckpointHook
from torch.utils.data import DataLoader

from mmsampriors.engine import ExactResumeHook


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


def test_training_by_epochs_is_told_what_it_misses():
    runner = runner_of(SimpleNamespace(dataloader=loader_of(range(6))))
    ExactResumeHook().before_train(runner)
    assert 'IterBasedTrainLoop' in runner.warnings[0]

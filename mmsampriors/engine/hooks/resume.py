"""Exact resuming of a training."""

import random

import numpy as np
import torch
from mmengine.dist import get_dist_info
from mmengine.hooks import CheckpointHook, Hook

from mmsampriors.compat.upstream import accumulated_iterations, decide_val_interval, is_resumed, stop_workers
from mmsampriors.datasets.deterministic_loader import ExtraSamples, deterministic_loader, seeds_of
from mmsampriors.registry import HOOKS


@HOOKS.register_module()
class ExactResumeHook(Hook):
    """Makes a run that was killed and resumed the run that was never interrupted.

    Nothing random depends on the past, so there is no random state to keep. The order of the samples is the sampler's,
    a function of its seed. What transforms draw is a function of (seed, position of the sample in that order). What
    the model draws, such as dropout, is a function of (seed, rank, iteration). The seed goes into each checkpoint. A
    resumed run counts what came before its first iteration, and loads none of it. A validation that was due when the
    run was killed is made up for: what is best, and what is exported, hangs on it.

    Guaranteed, for iteration-based training with mmengine's samplers or ProgressiveBatchSampler: a run that goes on
    from a checkpoint has, on the same machine's CPU, the parameters of the run that was not interrupted, bit by bit, at
    any number of workers; and N ranks with batches of b draw the samples and patches of one rank with batches of N·b.
    Not covered: generators that a transform or a network owns by itself, and, with gradient accumulation, checkpoints
    within a window, whose gradients no checkpoint holds. On GPUs kernels may add in another order.

    Attributes:
        extra (dict, optional): Arguments of :class:`.ExtraSamples` but the seed, for samples that are
            added to the batches; set by ``UnlabeledHook`` before training.
    """

    # After MaskCacheHook, which changes the pipeline of the dataset.
    priority = 'ABOVE_NORMAL'

    def __init__(self):
        self.seed = self.extra = None

    def before_run(self, runner):
        if not any(isinstance(hook, MissedValidationHook) for hook in runner.hooks):
            runner.register_hook(MissedValidationHook())

    def before_train(self, runner):
        """Lets the loop draw from a loader that starts where the run does."""
        loop = runner.train_loop
        if not hasattr(loop, 'dataloader_iterator'):
            runner.logger.warning(
                f'{type(loop).__name__} trains by epochs, and a resumed run is exact by iterations '
                "only: for that set train_cfg=dict(type='IterBasedTrainLoop', max_iters=...)"
            )
            return
        self._settle_seed(runner)
        _caution_about_windows(runner)
        # The loop's own loader has started its workers already: these end here.
        stop_workers(loop)
        rank, world_size = get_dist_info()
        extra = ExtraSamples(**self.extra, seed=self.seed) if self.extra else None
        loader = deterministic_loader(
            loop.dataloader, self.seed, start=runner.iter, rank=rank, world_size=world_size, extra=extra
        )
        loop.dataloader_iterator = _Resumed(loader, runner.iter)

    def _settle_seed(self, runner):
        """Takes the sampler's seed in a new run, and gives it that of the checkpoint in a resumed one."""
        sampler = getattr(runner.train_dataloader.batch_sampler, 'sampler', None)
        if self.seed is None:
            self.seed = getattr(sampler, 'seed', runner.seed)
        elif hasattr(sampler, 'seed'):
            sampler.seed = self.seed

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        """Seeds what the model draws in this iteration."""
        seed = runner.seed if self.seed is None else self.seed
        seeds = seeds_of(seed, get_dist_info()[0], runner.iter)
        for seed_generator, value in zip((random.seed, np.random.seed, torch.manual_seed), seeds):
            seed_generator(value)

    def before_save_checkpoint(self, runner, checkpoint):
        checkpoint['sampler_seed'], checkpoint['world_size'] = self.seed, get_dist_info()[1]

    def after_load_checkpoint(self, runner, checkpoint):
        if is_resumed(runner):
            self.seed = checkpoint.get('sampler_seed')
            _caution_about_processes(runner, checkpoint)


class MissedValidationHook(Hook):
    """Validates before a resumed run goes on, where its checkpoint was written just before a validation.

    mmengine's loop validates after an iteration, never before one. A run that was killed between a checkpoint and the
    end of the validation of the same iteration would lose it, and with it the best checkpoint. Where the validation had
    been through, it gives the same once more.
    """

    # After all others, which make the run ready.
    priority = 'LOWEST'

    def before_train(self, runner):
        if not is_resumed(runner) or not runner.iter or runner.val_loop is None:
            return
        loop = runner.train_loop
        # Training by epochs has no such thing to offer: its intervals are epochs.
        by_iterations = hasattr(loop, 'dataloader_iterator')
        if not by_iterations or runner.iter < loop.val_begin:
            return
        decide_val_interval(loop)
        if runner.iter % loop.val_interval == 0 or runner.iter == runner.max_iters:
            runner.logger.info(f'Validating after iteration {runner.iter}, which the checkpoint was written before')
            runner.val_loop.run()


def _caution_about_processes(runner, checkpoint):
    now = get_dist_info()[1]
    before = checkpoint.get('world_size', now)
    if before != now:
        runner.logger.warning(
            f'the number of processes was {before} and is {now}, so that a step has {now / before:g} times as many '
            'samples, in another order: the run is not the one that was interrupted'
        )


def _caution_about_windows(runner):
    window = accumulated_iterations(runner.optim_wrapper)
    for hook in runner.hooks:
        saves = isinstance(hook, CheckpointHook) and not hook.by_epoch and hook.interval > 0
        if saves and hook.interval % window:
            runner.logger.warning(
                f'checkpoints every {hook.interval} iterations fall within steps of {window} '
                'iterations (accumulative_counts), whose gradients they do not hold: a run that is '
                'resumed from one loses them. Set default_hooks.checkpoint.interval to a multiple'
            )


class _Resumed:
    """An iterator for mmengine's loop, which asks a resumed run's loader for all past batches: it gets None for them.

    Args:
        loader (DataLoader): Starts at the first batch that is wanted.
        past (int): Number of batches before it.
    """

    def __init__(self, loader, past: int):
        self.batches, self.past = iter(loader), past

    def __next__(self):
        if self.past:
            self.past -= 1
            return None
        return next(self.batches)

"""Whether the length of a training suits what is laid out over it: stages, learning rates, patch sizes."""

import math
from itertools import chain
from typing import Optional

from mmengine.config import Config

from mmsampriors.models.schedules import TwoStageSchedule, WithoutDistillation
from mmsampriors.registry import TASK_UTILS, build_part, is_a

from .config_reading import nodes_of, warn

#: Iterations of a training, 40 times those of Restormer's; with more, one has mistyped a number.
MOST_ITERS = 12_000_000
#: What ends a training, or its learning rate, where validation gets no better.
WAITING = ('EarlyStoppingHook', 'ReduceOnPlateauLR', 'ReduceOnPlateauMomentum', 'ReduceOnPlateauParamScheduler')


def check_length(cfg: Config):
    """Refuses a training too short for its stages; warns where learning rates or patch sizes are for another length.

    Args:
        cfg (Config): A config that can train.

    Raises:
        ValueError: A stage of ``model.spd.schedule`` would have no iteration, the training would never end, or
            something would take a stage in which the student is frozen for its end.
    """
    max_iters = cfg.train_cfg.get('max_iters')
    if is_a(cfg.model, 'SPDModel'):
        _refuse_waiting(cfg, build_part(TASK_UTILS, cfg.model.spd.schedule), max_iters or 1000)
    if not max_iters:
        return
    if max_iters > MOST_ITERS:
        raise ValueError(
            f'train_cfg.max_iters is {max_iters} (--accumulate multiplies it): at ten iterations a second that takes '
            f'{max_iters / 10 / 86400:.0f} days. Set at most {MOST_ITERS}'
        )
    if is_a(cfg.model, 'SPDModel'):
        window = cfg.optim_wrapper.get('accumulative_counts', 1)
        refuse_empty_stages(build_part(TASK_UTILS, cfg.model.spd.schedule), max_iters, window)
    for message in (*_rates(cfg, max_iters), *_patches(cfg, max_iters)):
        warn(message)


def _refuse_waiting(cfg, schedule, max_iters):
    iterations = range(0, max_iters, max_iters // 1000 or 1)
    if all(schedule.phase(iteration, max_iters).student for iteration in iterations):
        return
    for section in ('default_hooks', 'custom_hooks', 'param_scheduler'):
        for path, node in nodes_of(cfg.get(section), section):
            kind = node.get('type') if isinstance(node, dict) else None
            if getattr(kind, '__name__', str(kind)).split('.')[-1] in WAITING:
                raise ValueError(
                    f'{path} ({kind}) would take the stage of the refiner, in which the student is frozen, for the end '
                    "of its training: leave it out, or train jointly (model.spd.schedule.type='JointSchedule')"
                )


def refuse_empty_stages(schedule, max_iters: int, window: int = 1):
    """Refuses a schedule under which the refiner never trains, or the student never learns from it.

    Args:
        schedule (object): Of ``model.spd``, built.
        max_iters (int): Iterations of the training.
        window (int): Iterations of a step (gradient accumulation), which are all of the phase of the first.

    Raises:
        ValueError: A stage is shorter than a step.
    """
    if isinstance(schedule, WithoutDistillation):
        schedule = schedule.schedule  # the stages are its own, and nothing is meant to be distilled

    def any_phase(suits):
        return any(suits(schedule.phase(first, max_iters)) for first in _sparse_first(range(0, max_iters, window)))

    steps = f'a step of {window} iterations' if window > 1 else 'an iteration'
    if not any_phase(lambda phase: phase.refiner):
        share = f', {schedule.refiner:.3g} of {max_iters} iterations,' if isinstance(schedule, TwoStageSchedule) else ''
        raise ValueError(
            f"the refiner's stage{share} is shorter than {steps}: the student would learn from a refiner that has "
            'never been trained. Give it more, model.spd.schedule.refiner, or train for longer'
        )
    # A refiner's stage to the end is asked for where nothing but the refiner is to train.
    refiner_only = isinstance(schedule, TwoStageSchedule) and schedule.warmup + schedule.refiner >= 1
    if not refiner_only and not any_phase(lambda phase: phase.student and phase.ramp):
        raise ValueError(
            f'in none of the {max_iters} iterations would the student learn from the refiner: the stage of '
            f'distillation is shorter than {steps}. Train for longer, train_cfg.max_iters, or begin earlier, '
            'model.spd.schedule'
        )


def _sparse_first(steps: range):
    """All steps, and before them a thousand that lie evenly: a search among a million ends soon that way."""
    return chain(steps[:: len(steps) // 1000 or 1], steps)


def _rates(cfg, max_iters):
    """What there is to say about schedulers whose end is not the end of the training."""
    schedulers = cfg.get('param_scheduler') or []
    several = isinstance(schedulers, (list, tuple))
    for number, scheduler in enumerate(schedulers if several else [schedulers]):
        key = f'param_scheduler.{number}' if several else 'param_scheduler'
        setting, length = _length_of(scheduler)
        begin = scheduler.get('begin', 0)
        if length is None or scheduler.get('by_epoch', True) or begin + length == max_iters:
            continue
        wanted = max_iters - begin
        if wanted <= 0:
            yield (
                f'{key} ({scheduler.type}) begins at iteration {begin}, and train_cfg.max_iters is {max_iters}, so '
                f'that it never does: lay out all of param_scheduler for {max_iters} iterations, or train for longer'
            )
            continue
        value = f'{key}.{setting}={wanted}' if setting != 'periods' else f'{key}.periods to add up to {wanted}'
        yield (
            f'{key} ({scheduler.type}) is laid out for {begin + length} iterations, and train_cfg.max_iters is '
            f'{max_iters}{_last_rate(cfg, scheduler, max_iters)}: set {value}'
        )


def _length_of(scheduler):
    """The setting that says over how many iterations a scheduler goes, and its value; None where none does."""
    for setting in ('T_max', 'total_steps', 'periods'):
        if scheduler.get(setting):
            value = scheduler[setting]
            return setting, sum(value) if setting == 'periods' else value
    return None, None


def _last_rate(cfg, scheduler, max_iters) -> str:
    """The learning rate at the end of a cosine, where it can be computed."""
    rate: Optional[float] = cfg.optim_wrapper.get('optimizer', {}).get('lr')
    if rate is None or not scheduler.get('T_max'):
        return ''
    lowest = scheduler.get('eta_min') or scheduler.get('eta_min_ratio', 0) * rate or 0
    done = min(scheduler.get('end', math.inf), max_iters) - scheduler.get('begin', 0)
    last = lowest + (rate - lowest) * (1 + math.cos(math.pi * max(done, 0) / scheduler.T_max)) / 2
    return f', so that the learning rate ends at {last:.2g} instead of {lowest:.2g}'


def _patches(cfg, max_iters):
    sampler = cfg.train_dataloader.get('batch_sampler') or {}
    if is_a(sampler, 'ProgressiveBatchSampler') and sum(sampler['iters']) != max_iters:
        yield (
            f'train_dataloader.batch_sampler has stages of {list(sampler["iters"])} iterations, '
            f'{sum(sampler["iters"])} in all, and train_cfg.max_iters is {max_iters}: '
            + (
                'the last patch sizes are never reached'
                if sum(sampler['iters']) > max_iters
                else 'the last patch size goes on to the end'
            )
            + '. Set train_dataloader.batch_sampler.iters to add up to max_iters'
        )

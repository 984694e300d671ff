"""Fewer GPUs than a schedule was published for: gradient accumulation that keeps its total batch and its updates."""

from mmengine.config import Config
from mmengine.logging import print_log

#: Settings of mmengine's learning rate schedulers that count iterations, and those that list such counts.
COUNTS, LISTS = ('begin', 'end', 'T_max', 'step_size', 'total_steps'), ('milestones', 'periods')
#: Schedulers whose other settings do not depend on how many iterations there are.
STRETCHABLE = ('Constant', 'CosineAnnealing', 'CosineRestart', 'Linear', 'MultiStep', 'OneCycle', 'Poly', 'Step')


def accumulate(cfg: Config, times: int):
    """Makes an update of ``times`` iterations, and stretches by as much all that is counted in iterations. [ours]

    mmengine counts the batches of the loader. Accumulation alone would leave a ``times``-th of the updates, each of the
    published size, at learning rates that fall as fast as before.

    Stretched are the training, the learning rates, Restormer's patch sizes, and the intervals of validations,
    checkpoints and averages of weights. Shares, such as those of ``model.spd.schedule``, stay. An update has the
    learning rate of its last iteration, so that where the rate changes smoothly it is ahead by less than an update.

    Args:
        cfg (Config): A config that trains by iterations.
        times (int): Iterations of an update, at least 1.

    Raises:
        ValueError: The config trains by epochs, accumulates already, or has a scheduler that is not known.
    """
    if times < 1:
        raise ValueError(f'--accumulate takes a number of iterations, at least 1, found {times}')
    loop = cfg.get('train_cfg') or {}
    if not loop.get('max_iters'):
        raise ValueError(
            f'--accumulate stretches a training by iterations, and train_cfg is {dict(loop)}: set '
            "train_cfg=dict(type='IterBasedTrainLoop', max_iters=...)"
        )
    if cfg.optim_wrapper.get('accumulative_counts', 1) != 1:
        raise ValueError(
            f'--accumulate {times} meets optim_wrapper.accumulative_counts='
            f'{cfg.optim_wrapper.accumulative_counts}: the config accumulates already, and may have been stretched for '
            'it. Leave one of the two out'
        )
    cfg.optim_wrapper.accumulative_counts = times
    _stretch_loop(loop, times)
    schedulers = cfg.get('param_scheduler') or []
    for scheduler in schedulers if isinstance(schedulers, (list, tuple)) else [schedulers]:
        _stretch_scheduler(scheduler, times)
    sampler = cfg.train_dataloader.get('batch_sampler') or {}
    if 'iters' in sampler:
        sampler.iters = [count * times for count in sampler.iters]
    for hook in [*cfg.get('default_hooks', {}).values(), *cfg.get('custom_hooks', [])]:
        _stretch_hook(hook, times)
    if 'base_batch_size' in cfg.get('auto_scale_lr', {}):
        cfg.auto_scale_lr.base_batch_size /= times  # mmengine compares it with the batch of an iteration
    print_log(
        f'--accumulate {times}: {times} iterations make an update, and the training has {loop.max_iters} iterations: '
        'as many updates as without',
        logger='current',
    )


def _stretch_loop(loop, times):
    loop.val_interval = loop.get('val_interval', 1000) * times  # mmengine's default
    loop.max_iters *= times
    if 'val_begin' in loop:
        loop.val_begin *= times
    if loop.get('dynamic_intervals'):
        loop.dynamic_intervals = [(first * times, interval * times) for first, interval in loop.dynamic_intervals]


def _stretch_scheduler(scheduler, times):
    if scheduler.get('by_epoch', True):
        return
    kind = str(scheduler.type).removesuffix('LR').removesuffix('Momentum').removesuffix('ParamScheduler')
    if kind == 'Exponential':
        scheduler.gamma **= 1 / times
    elif kind not in STRETCHABLE:
        known = ', '.join(f'{name}LR' for name in (*STRETCHABLE, 'Exponential'))
        raise ValueError(
            f'--accumulate does not know how to stretch param_scheduler {scheduler.type}; it knows {known}. Set '
            'optim_wrapper.accumulative_counts, train_cfg and param_scheduler by hand'
        )
    for name in COUNTS:
        if scheduler.get(name):
            scheduler[name] *= times
    for name in LISTS:
        if scheduler.get(name):
            scheduler[name] = [count * times for count in scheduler[name]]


def _stretch_hook(hook, times):
    kind = str(hook.get('type')).split('.')[-1]
    if kind == 'CheckpointHook' and not hook.get('by_epoch', True):
        for name in ('interval', 'save_begin'):
            if hook.get(name, 0) > 0:
                hook[name] *= times
    if kind == 'EMAHook':
        hook.interval = hook.get('interval', 1) * times
        for name in ('begin_iter', 'gamma'):  # gamma is a number of updates: that of MomentumAnnealingEMA
            if hook.get(name):
                hook[name] *= times

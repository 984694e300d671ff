"""Optimizer wrappers, gradient accumulation, and memory on the CPU."""

import ctypes
from contextlib import contextmanager
from typing import Callable

import torch
from mmengine.config import Config
from mmengine.logging import print_log
from mmengine.optim import OptimWrapper
from torch import nn

from mmsampriors.registry import OPTIM_WRAPPERS


class ClipByOwner:
    """Clips the gradients of the student and those of SPF unit and refiner apart.

    One norm over both would let a large gradient of the one shrink the steps of the other.

    Args:
        model (SPDModel): The model.
        clip (callable): ``torch.nn.utils.clip_grad_norm_`` or the like.
    """

    def __init__(self, model: nn.Module, clip: Callable):
        self.student = {id(parameter) for parameter in model.generator.parameters()}
        self.clip = clip

    def __call__(self, parameters, **kwargs):
        """Clips in place and returns the student's norm, or the refiner's where the student is frozen."""
        parameters = list(parameters)
        student = [parameter for parameter in parameters if id(parameter) in self.student]
        refiner = [parameter for parameter in parameters if id(parameter) not in self.student]
        norms = [self.clip(group, **kwargs) for group in (student, refiner) if group]
        return norms[0]


@OPTIM_WRAPPERS.register_module()
class CPUAmpOptimWrapper(OptimWrapper):
    """bfloat16 by autocast on the CPU, where mmengine 0.10.7's AmpOptimWrapper asks for a GPU. [ours]

    Args:
        dtype (str): ``'bfloat16'``; float16 needs a scaled loss, and operators that the CPU lacks.
        **kwargs: Those of mmengine's OptimWrapper.

    Raises:
        ValueError: Another ``dtype``.
    """

    def __init__(self, dtype: str = 'bfloat16', **kwargs):
        if dtype != 'bfloat16':
            raise ValueError(
                f'mixed precision on the CPU is bfloat16: expected optim_wrapper.dtype=bfloat16, found {dtype!r}'
            )
        super().__init__(**kwargs)

    @contextmanager
    def optim_context(self, model: nn.Module):
        """As mmengine's, with autocast."""
        with super().optim_context(model), torch.autocast('cpu', torch.bfloat16):
            yield


#: Of glibc's malloc.h.
M_TRIM_THRESHOLD, M_MMAP_MAX, M_ARENA_MAX = -1, -4, -8


def keep_freed_memory() -> bool:
    """Makes glibc keep what is freed for the next allocation, as PyTorch's allocator on a GPU does. [ours]

    By default it returns the activations of a step to the system and fetches them anew, page by page, in the next: a
    joint step of Restormer takes 1.5 times as long. Does nothing where there is a GPU, or another C library.

    Returns:
        bool: Whether it was done.
    """
    mallopt = None if torch.cuda.is_available() else getattr(ctypes.CDLL(None), 'mallopt', None)
    if mallopt is None:
        return False
    # One heap, whose end is never given back, and nothing mapped apart from it.
    return all([mallopt(M_ARENA_MAX, 1), mallopt(M_MMAP_MAX, 0), mallopt(M_TRIM_THRESHOLD, -1)])


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
    for hook in [*cfg.get('default_hooks', {}).values(), *(cfg.get('custom_hooks') or [])]:
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

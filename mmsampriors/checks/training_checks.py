"""What a training checks before it begins: its checkpoint of before, and the list of all checks of configs."""

import os.path as osp
from pathlib import Path
from typing import Iterator, Optional, Tuple

import torch
from mmengine.config import Config
from mmengine.runner import find_latest_checkpoint

from mmsampriors.checkpoints import read_checkpoint
from mmsampriors.compat.plain_data import PlainConfigError, plain_values

from .config_check import check_config, check_training, values_by_key
from .config_keys import plain
from .config_parts import check_parts
from .config_reading import nodes_of, warn
from .pair_check import is_first_process

#: What the checkpoint's weights and optimizer are made for, or what it brings: a change is lost or breaks the run.
FIXED = (
    'model.generator',
    'model.spd.spf',
    'model.spd.refiner',
    'model.spd.schedule',
    'optim_wrapper.optimizer',
    'optim_wrapper.paramwise_cfg',
    'optim_wrapper.accumulative_counts',
    'param_scheduler',
)
#: What else decides over a training: a change is taken, and logged.
REPORTED = ('model', 'train_dataloader', 'train_cfg.max_iters', 'train_cfg.type', 'optim_wrapper')
#: Keys that change how a training runs, and not what it does.
FREE = (
    'model.test_cfg',
    'model.spd.masks.cache_dir',
    *(f'train_dataloader.{key}' for key in ('num_workers', 'persistent_workers', 'pin_memory', 'prefetch_factor')),
)
ABSENT = '(absent)'
#: What optimizers keep for each weight, of its shape.
AVERAGES = {'exp_avg', 'exp_avg_sq', 'max_exp_avg_sq', 'momentum_buffer', 'square_avg'}


def check_resume(cfg: Config):
    """Compares a run that is to be resumed with the config in its checkpoint; by the first process of a run.

    Args:
        cfg (Config): With ``resume``, settled by :func:`prefer_own_checkpoint`; its checkpoint is ``load_from``, or the
            latest in ``work_dir``.

    Raises:
        FileNotFoundError: There is nothing to resume.
        ValueError: Network, schedule, optimizer or learning rates differ: the weights do not fit, or the checkpoint has
            its own.
    """
    if not cfg.get('resume') or not is_first_process(cfg.get('launcher', 'none')):
        return
    path = _checkpoint_of(cfg)
    checkpoint = read_checkpoint(path)
    meta = checkpoint.get('meta') if isinstance(checkpoint.get('meta'), dict) else {}
    _refuse_what_is_no_interrupted_run(cfg, path, meta)
    _look_for_states(cfg, path, checkpoint, meta)
    _refuse_foreign_optimizer(path, checkpoint)
    if 'cfg' not in meta:
        warn(f'{path} holds no config, so it is unknown whether this run is the one that it comes from')
        return
    try:
        before = plain_values(meta['cfg'])  # not mmengine's reader, which runs it
    except PlainConfigError as error:
        warn(
            f'the config in {path} holds more than values ({error}) and is not run, so it is unknown whether this '
            'run is the one that it comes from'
        )
        return
    changes = changed_keys(Config(before), cfg)
    fixed = [key for key in changes if _is_below(key, FIXED)]
    if fixed:
        raise ValueError(
            f'--resume goes on from {path}, which was trained with other settings: {_listed(changes, fixed)}. A '
            'resumed run has the network, the stages, the optimizer and the learning rates of its checkpoint: set them '
            'as they were, or start a new run from its weights (without --resume, in another --work-dir, with '
            f'--cfg-options load_from={path})'
        )
    if changes:
        warn(
            f'--resume goes on from {path}, which was trained with other settings, so that the run is not the one that '
            f'was interrupted: {_listed(changes, changes)}'
        )


def prefer_own_checkpoint(cfg: Config):
    """Drops ``load_from`` where a run that began with it is resumed: its own last checkpoint comes first; in place.

    mmengine would "resume" from ``load_from``, that is, begin anew or end at once. Each process of a run calls this.

    Args:
        cfg (Config): With ``resume``, ``load_from`` and ``work_dir``.

    Raises:
        FileNotFoundError: The folder holds checkpoints, and no valid note of the last one.
    """
    if cfg.get('resume') and cfg.get('load_from') and _noted_checkpoint(cfg.work_dir):
        cfg.load_from = None


def _refuse_what_is_no_interrupted_run(cfg, path, meta):
    if not cfg.get('load_from'):
        return
    iteration, end = meta.get('iter'), cfg.train_cfg.get('max_iters')
    if 'epoch' not in meta or iteration is None:
        found = 'weights alone'
    elif end and iteration >= end:
        found = f'a training that ended after {iteration} iterations'
    else:
        return
    raise ValueError(
        f'there is nothing to resume: no checkpoint in {osp.abspath(cfg.work_dir)}, and load_from={path} holds '
        f'{found}: leave --resume out to begin with its weights'
    )


def _look_for_states(cfg, path, checkpoint, meta):
    """Refuses a checkpoint without what mmengine needs to go on, and warns of one without what it begins anew."""
    missing = [
        f'meta.{key}'
        for key in ('epoch', 'iter')
        if not (isinstance(meta.get(key), int) and not isinstance(meta[key], bool) and meta[key] >= 0)
    ]
    missing += [key for key in ('message_hub',) if not isinstance(checkpoint.get(key), dict)]
    kinds = dict(optimizer=dict, param_schedulers=(dict, list))
    missing += [key for key in kinds if checkpoint.get(key) and not isinstance(checkpoint[key], kinds[key])]
    if missing:
        raise ValueError(
            f'there is nothing to resume: {path} holds no usable {", ".join(missing)}, so it is no checkpoint of an '
            f'interrupted training. To begin with its weights leave --resume out, name another --work-dir, and set '
            f'--cfg-options load_from={path}'
        )
    end, saved = cfg.train_cfg.get('max_iters'), checkpoint.get('param_schedulers')
    if end and meta['iter'] > end:
        raise ValueError(
            f'{path} was saved after {meta["iter"]} iterations, and train_cfg.max_iters is {end}: set more'
        )
    schedulers = cfg.get('param_scheduler') or []
    count = len(schedulers) if isinstance(schedulers, list) else 1
    if isinstance(saved, list) and saved and len(saved) != count:
        raise ValueError(
            f'{path} holds {len(saved)} param_schedulers, and the config has {count}: take the config that it was '
            'trained with'
        )
    wanted = ('optimizer', *(['param_schedulers'] if cfg.get('param_scheduler') else []))
    absent = [key for key in wanted if not checkpoint.get(key)]
    if absent:
        warn(f'{path} holds no {" and no ".join(absent)}: they begin anew, so the run is not the one interrupted')


def _refuse_foreign_optimizer(path, checkpoint):
    """mmengine loads the state of any optimizer, and the first step fails, or a state that is not finite spoils it."""
    weights = checkpoint.get('state_dict') or {}
    shapes = {value.shape for value in weights.values() if isinstance(value, torch.Tensor)}
    for key, value in values_by_key(checkpoint.get('optimizer')):
        is_average = key.split('.')[-1] in AVERAGES and isinstance(value, torch.Tensor)
        if is_average and not (value.shape in shapes and value.isfinite().all()):
            fault = 'values that are not finite' if value.shape in shapes else 'a shape that no weight has'
            raise ValueError(
                f'--resume goes on from {path}, and its optimizer.{key}, {tuple(value.shape)}, has {fault}: the state '
                'is damaged or of another network. Take an earlier checkpoint, or start a new run from the weights '
                f'(without --resume, in another --work-dir, with --cfg-options load_from={path})'
            )


def changed_keys(before: Config, now: Config) -> dict:
    """Dotted key to ``(before, now)`` of all that decides over a training and differs."""
    before, now = (dict(values_by_key(plain(dict(cfg)))) for cfg in (before, now))
    keys = [key for key in {**before, **now} if _is_below(key, (*FIXED, *REPORTED)) and not _is_below(key, FREE)]
    pairs = {key: (before.get(key, ABSENT), now.get(key, ABSENT)) for key in keys}
    return {key: (old, new) for key, (old, new) in pairs.items() if old != new}


def _checkpoint_of(cfg) -> str:
    path = cfg.get('load_from') or _noted_checkpoint(cfg.work_dir)
    if not path or not osp.isfile(path):
        where = f'no {path}' if path else f'no checkpoint in {osp.abspath(cfg.work_dir)}'
        raise FileNotFoundError(
            f'there is nothing to resume: {where}. For a new run leave --resume out; to go on with another one, give '
            'its --work-dir'
        )
    return path


def _noted_checkpoint(work_dir) -> Optional[str]:
    """The checkpoint that mmengine has noted as the last one of a run; None where it has noted none."""
    note = osp.join(work_dir, 'last_checkpoint')
    checkpoints = [*Path(work_dir).glob('iter_*.pth'), *Path(work_dir).glob('epoch_*.pth')]
    if checkpoints and not osp.isfile(note):
        newest = max(checkpoints, key=lambda path: path.stat().st_mtime)
        raise FileNotFoundError(
            f'{note} names the checkpoint to resume from, and there is none, beside {newest.name}: write the path '
            f'{osp.abspath(newest)} into it'
        )
    try:
        path = find_latest_checkpoint(work_dir)
    except UnicodeDecodeError:
        path = ''
    if path is not None and not osp.isfile(path):
        raise FileNotFoundError(
            f'{note} must hold the path of the checkpoint to resume from, and {path!r} is no file: the note is '
            'damaged, or the checkpoint was removed or moved. Write the path of the newest iter_*.pth into it'
        )
    return path


def _is_below(key, roots) -> bool:
    return any(key == root or key.startswith(f'{root}.') for root in roots)


def _listed(changes, keys) -> str:
    return ', '.join(f'{key} was {_short(changes[key][0])} and is {_short(changes[key][1])}' for key in keys)


def _short(value) -> str:
    text = value if value == ABSENT else repr(value)
    return text if len(text) <= 100 else f'{text[:97]}...'


def check_initial_weights(cfg: Config):
    """Refuses weights to begin with that cannot be read: ``load_from``, ``refiner_from`` and ``init_cfg``.

    Where a run is resumed its own checkpoint comes first, and ``load_from`` is not read.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is damaged or no checkpoint.
    """
    if not is_first_process(cfg.get('launcher', 'none')):
        return
    named = [] if cfg.get('resume') else [('load_from', cfg.get('load_from'))]
    for key, path in [*named, *_weights_named(cfg.get('model'), 'model')]:
        if path and '://' not in str(path):
            try:
                read_checkpoint(path)
            except (OSError, ValueError) as error:
                raise type(error)(f'{key}: {error}') from error


def _weights_named(node, key: str) -> Iterator[Tuple[str, object]]:
    """Dotted keys and files of the weights that parts of a model begin with."""
    for path, one in nodes_of(node, key):
        if path.endswith('.refiner_from'):
            yield path, one
        if isinstance(one, dict) and str(one.get('type')).split('.')[-1] in ('Pretrained', 'PretrainedInit'):
            yield f'{path}.checkpoint', one.get('checkpoint')


#: In their order; each takes a config and raises what a training would refuse. Work folder and data come after them.
CONFIG_CHECKS = (check_config, check_parts, check_training, check_initial_weights, check_resume)

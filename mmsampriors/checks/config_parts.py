"""Checks of the parts in a config: each dict with a ``type``, whose class is known and takes what it is given."""

import inspect
from typing import Callable, Iterator, List, NamedTuple, Optional, Tuple

import torch
from mmagic.datasets import BasicImageDataset
from mmengine.config import Config
from mmengine.hooks import EMAHook
from mmengine.optim import DefaultOptimWrapperConstructor, OptimWrapper
from mmengine.registry import FUNCTIONS, Registry, init_default_scope
from mmengine.runner import Runner
from mmengine.utils.dl_utils import set_multi_processing
from torch.nn.utils import clip_grad_norm_, clip_grad_value_
from torch.utils.data import DataLoader

from mmsampriors.command_line import message_of
from mmsampriors.registry import (
    DATA_SAMPLERS,
    DATASETS,
    EVALUATORS,
    HOOKS,
    LOG_PROCESSORS,
    LOOPS,
    METRICS,
    MODELS,
    OPTIM_WRAPPERS,
    OPTIMIZERS,
    PARAM_SCHEDULERS,
    SCOPE,
    TRANSFORMS,
    VISBACKENDS,
    VISUALIZERS,
    in_own_scope,
)

from .config_check import values_by_key
from .config_values import (
    check_arguments,
    is_number,
    is_upstream,
    nearest,
    problems_of_call,
    problems_of_keys,
    unknown_type,
)

#: Top-level key to the registries that are asked for its parts.
ROOTS = dict(
    model=(MODELS,),
    train_dataloader=(),
    val_dataloader=(),
    test_dataloader=(),
    optim_wrapper=(OPTIM_WRAPPERS,),
    param_scheduler=(PARAM_SCHEDULERS,),
    train_cfg=(LOOPS,),
    val_cfg=(LOOPS,),
    test_cfg=(LOOPS,),
    val_evaluator=(METRICS, EVALUATORS),
    test_evaluator=(METRICS, EVALUATORS),
    default_hooks=(HOOKS,),
    custom_hooks=(HOOKS,),
    visualizer=(VISUALIZERS,),
    log_processor=(LOG_PROCESSORS,),
)
#: Key inside of them, by itself or dotted, to the registries that its parts come from.
BELOW = {
    'model.generator': (MODELS,),
    'model.pixel_loss': (MODELS,),
    'model.data_preprocessor': (MODELS,),
    'dataset': (DATASETS,),
    'datasets': (DATASETS,),
    'pipeline': (TRANSFORMS,),
    'transforms': (TRANSFORMS,),
    'sampler': (DATA_SAMPLERS,),
    'batch_sampler': (DATA_SAMPLERS,),
    'collate_fn': (FUNCTIONS,),
    'optimizer': (OPTIMIZERS,),
    'metrics': (METRICS,),
    'vis_backends': (VISBACKENDS,),
}
#: What is taken out of a part's dict before it is built.
TAKEN_OUT = {
    HOOKS: ('priority',),
    LOOPS: ('by_epoch',),
    OPTIM_WRAPPERS: ('constructor', 'paramwise_cfg'),
    PARAM_SCHEDULERS: ('convert_to_iter_based',),
}
ENVIRONMENT_KEYS = ('cudnn_benchmark', 'mp_cfg', 'dist_cfg', 'resource_limit')
PARAMWISE_KEYS = (
    *('custom_keys', 'bias_lr_mult', 'bias_decay_mult', 'norm_decay_mult', 'dwconv_decay_mult', 'flat_decay_mult'),
    *('dcn_offset_lr_mult', 'bypass_duplicate'),
)


class Part(NamedTuple):
    """A dict of a config that something is built of.

    Attributes:
        path (str): Its dotted key.
        cfg (dict): The dict, with ``type``.
        registries (tuple[Registry]): Those that are asked for its type.
        sure (bool): Whether they are the ones that will be. Below a part that is not known it may be otherwise.
    """

    path: str
    cfg: dict
    registries: Tuple[Registry, ...]
    sure: bool


def check_parts(cfg: Config):
    """Refuses a config that gives a part what it does not take.

    Raises:
        ValueError: A type that is not registered, an argument that its constructor does not take, a value of another
            kind, 0 and less where only more makes sense, or a best checkpoint by what is not measured. Lists them all.
    """
    init_default_scope(cfg.get('default_scope', 'mmagic'))
    problems = list(dict.fromkeys(_problems(cfg.to_dict())))
    if problems:
        raise ValueError(problems[0] if len(problems) == 1 else '\n- '.join(['faults of the config:', *problems]))


def parts_of(cfg: dict) -> Iterator[Part]:
    """All parts of a config, the outer before the inner."""
    for name, registries in ROOTS.items():
        node = cfg.get(name)
        if name == 'train_cfg' and isinstance(node, dict) and 'type' not in node:
            node = {'type': 'EpochBasedTrainLoop' if node.get('by_epoch') else 'IterBasedTrainLoop', **node}
        yield from _walk(name, node, registries, True)


def class_of(part: Part) -> Optional[Callable]:
    """What a part's type names; None where it names nothing."""
    kind = part.cfg['type']
    if not isinstance(kind, str):
        return kind
    for one in part.registries:
        with one.switch_scope_and_registry(part.cfg.get('_scope_')) as found:
            known = found.get(kind)
        if known is not None:
            return known
    return None


def _walk(path, node, registries, sure) -> Iterator[Part]:
    if isinstance(node, (list, tuple)):
        node = dict(enumerate(node))
    elif isinstance(node, dict) and 'type' in node and registries:
        yield Part(path, node, registries, sure)
        sure = False
    if not isinstance(node, dict):
        return
    for key, value in node.items():
        # norm_cfg and its like are read by the networks themselves, each in its own way.
        if str(key).endswith(('_cfg', '_config')) or key == 'spd':
            continue
        known = BELOW.get(f'{path}.{key}', BELOW.get(key))
        yield from _walk(f'{path}.{key}', value, known or registries, bool(known) or sure)


def _problems(cfg) -> Iterator[str]:
    for part in parts_of(cfg):
        yield from _problems_of_part(part, bool(cfg.get('val_dataloader')))
    for path, loader in _loaders(cfg):
        given = {key: loader[key] for key in loader if key not in ('num_batch_per_epoch', 'disable_subprocess_warning')}
        yield from problems_of_call(path, given, DataLoader)
    environment = cfg.get('env_cfg') or {}
    yield from problems_of_keys('env_cfg', environment, ENVIRONMENT_KEYS)
    yield from problems_of_call('env_cfg.mp_cfg', environment.get('mp_cfg'), set_multi_processing)
    yield from problems_of_call('randomness', cfg.get('randomness'), Runner.set_randomness)
    yield from _problems_of_scaling(cfg.get('auto_scale_lr') or {})
    yield from _problems_of_spd((cfg.get('model') or {}).get('spd'))
    yield from _problems_of_hooks(cfg)
    yield from _problems_of_best(cfg)


def _problems_of_spd(spd) -> Iterator[str]:
    """Of the parts of ``model.spd`` that are there; :func:`check_spd` says which must be."""
    if not isinstance(spd, dict):
        return
    losses = spd.get('losses') if isinstance(spd.get('losses'), dict) else {}
    named = {key: spd.get(key) for key in ('spf', 'feature_extractor', 'schedule', 'masks')}
    for key, part in {**named, **{f'losses.{name}': loss for name, loss in losses.items()}}.items():
        if part and isinstance(part, dict):
            try:
                check_arguments(key, part)
            except ValueError as error:
                yield str(error)
    refiner = spd.get('refiner')
    if isinstance(refiner, dict):
        yield from _problems_of_part(Part('model.spd.refiner', in_own_scope(refiner), (MODELS,), True), False)


def _problems_of_scaling(scaling) -> Iterator[str]:
    """Of the learning rate, with the batch."""
    yield from problems_of_keys('auto_scale_lr', scaling, ('enable', 'base_batch_size'))
    base = scaling.get('base_batch_size')
    if scaling.get('enable') and not (is_number(base) and base > 0):
        yield (
            'auto_scale_lr.enable (--auto-scale-lr) needs the total batch that the learning rate was set for: set '
            f'auto_scale_lr.base_batch_size to a number above 0, found {base!r}'
        )


def _loaders(cfg) -> Iterator[Tuple[str, dict]]:
    """Dotted key and dict of each loader; mmagic's validation may have several."""
    for name in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
        loaders = cfg.get(name) or []
        if isinstance(loaders, dict):
            yield name, loaders
        else:
            yield from ((f'{name}.{number}', loader) for number, loader in enumerate(loaders))


def _problems_of_part(part, validates) -> List[str]:
    kind = class_of(part)
    if kind is None:
        return [unknown_type(part.path, part.cfg['type'], part.registries)] if part.sure else []
    given = {key: value for key, value in part.cfg.items() if key not in ('type', '_scope_')}
    for key in sum((TAKEN_OUT.get(one, ()) for one in part.registries), ()):
        given.pop(key, None)
    if not validates:
        given.pop('val_interval', None)  # nothing reads it
    found = list(problems_of_call(part.path, given, kind))
    if not found and is_upstream(kind):
        found += _problems_of_building(part)
    if not found and inspect.isclass(kind) and issubclass(kind, EMAHook):
        found += _problems_of_average(part, kind)
    if inspect.isclass(kind) and issubclass(kind, OptimWrapper):
        found += _problems_of_optim_wrapper(part.path, part.cfg)
    if inspect.isclass(kind) and issubclass(kind, BasicImageDataset) and part.cfg.get('pipeline'):
        found += _problems_of_folders(part.path, part.cfg)
    return found


def _problems_of_building(part) -> Iterator[str]:
    """Builds what is small, an optimizer or a data preprocessor, and says why it cannot be."""
    parameters = dict(params=[torch.nn.Parameter(torch.zeros(1))])
    more = {'optimizer': parameters, 'data_preprocessor': {}}.get(part.path.rsplit('.', 1)[-1])
    if more is None:
        return
    try:
        part.registries[0].build({**part.cfg, **more})
    except Exception as error:
        yield f'{part.path} cannot be built: {message_of(error)}'


def _problems_of_average(part, kind) -> Iterator[str]:
    """Builds an average of a model of one weight: the hook hands on what it does not take, and only in training."""
    try:
        average = kind(**{key: value for key, value in part.cfg.items() if key not in ('type', '_scope_', 'priority')})
        MODELS.build(average.ema_cfg, default_args=dict(model=torch.nn.Linear(1, 1)))
    except Exception as error:
        yield f'{part.path} cannot be built: {message_of(error)}'


def _problems_of_optim_wrapper(path, cfg) -> Iterator[str]:
    clip = cfg.get('clip_grad') or {}
    if not isinstance(clip, dict):
        yield f'{path}.clip_grad must be a dict such as dict(max_norm=0.01), found {clip!r}'
        return
    clip = dict(clip)
    how = clip_grad_value_ if clip.pop('type', 'norm') == 'value' else clip_grad_norm_
    yield from problems_of_call(f'{path}.clip_grad', clip, how)
    if cfg.get('constructor') in (None, DefaultOptimWrapperConstructor.__name__):
        yield from problems_of_keys(f'{path}.paramwise_cfg', cfg.get('paramwise_cfg'), PARAMWISE_KEYS)
        for key, value in values_by_key(cfg.get('paramwise_cfg'), f'{path}.paramwise_cfg'):
            if key.endswith('_mult') and not (is_number(value) and value >= 0):
                yield f'{key} must be a finite number of at least 0, found {value!r}'


def _problems_of_folders(path, cfg) -> Iterator[str]:
    """Whether the folders of a data set are those that its pipeline loads images of."""
    folders = cfg.get('data_prefix') or dict(img='')
    steps = [step for step in cfg['pipeline'] if step.get('type') == 'LoadImageFromFile']
    missing = [step['key'] for step in steps if step.get('key') and step['key'] not in folders]
    for key in filter(lambda key: nearest(key, folders), missing):
        yield f'{path}.data_prefix has no folder of {key!r} images, which the pipeline loads{nearest(key, folders)}'
    loaded = {step.get('key') for step in steps} - {None, *missing}
    mentioned = str(cfg['pipeline'])
    for key in folders:
        if repr(key) not in mentioned and nearest(key, loaded):
            yield f'{path}.data_prefix has {key!r} images, which the pipeline does not load{nearest(key, loaded)}'


def _problems_of_hooks(cfg) -> Iterator[str]:
    """Of this package's hooks each is there once."""
    hooks = list(parts_of(dict(custom_hooks=cfg.get('custom_hooks'))))
    kinds = [class_of(hook) for hook in hooks]
    for number, kind in enumerate(kinds):
        first = kinds.index(kind)
        if first < number and getattr(kind, '__module__', '').startswith(f'{SCOPE}.'):
            yield f'{hooks[number].path} is the {kind.__name__} of {hooks[first].path} again: take one of them out'


def _problems_of_best(cfg) -> Iterator[str]:
    """Whether validation measures what the best checkpoint is chosen by, where all its metrics are known."""
    best = ((cfg.get('default_hooks') or {}).get('checkpoint') or {}).get('save_best')
    metrics = [part for part in parts_of(dict(val_evaluator=cfg.get('val_evaluator'))) if METRICS in part.registries]
    names = [getattr(class_of(metric), 'metric', None) for metric in metrics]
    if not names or not all(isinstance(name, str) for name in names):
        return
    for name in [best] if isinstance(best, str) else best or ():
        if '/' not in name and name not in (*names, 'auto'):
            yield (
                f'default_hooks.checkpoint.save_best = {name!r} is measured by no metric of val_evaluator'
                f'{nearest(name, names)}; there are {", ".join(names)}'
            )

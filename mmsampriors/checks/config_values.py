"""Checks of the values in a config: what a class or function takes by name, of which kind, and from where to where."""

import ast
import difflib
import inspect
import math
import textwrap
import types
from typing import Any, Callable, Dict, Iterable, Iterator, Optional, Tuple, Union, get_args, get_origin

import torch
from mmengine.hooks import CheckpointHook
from mmengine.registry import Registry
from mmengine.runner import Runner

from mmsampriors.registry import MODELS, TASK_UTILS


def _is_whole(value) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def is_number(value) -> bool:
    return _is_whole(value) or (isinstance(value, float) and math.isfinite(value))


#: Annotation to its test and to the words for it. Arguments that are annotated otherwise are left to their part.
KINDS: Dict[type, Tuple[Callable, str]] = {
    bool: (lambda value: isinstance(value, bool), 'True or False'),
    int: (_is_whole, 'a whole number'),
    float: (is_number, 'a finite number'),
    str: (lambda value: isinstance(value, str), 'a text'),
    dict: (lambda value: isinstance(value, dict), 'a dict'),
    type(None): (lambda value: value is None, 'None'),
}
#: What an annotation of several kinds is made of: ``Union[int, str]``, ``int | str``.
UNIONS = (Union, types.UnionType)


def check_arguments(key: str, cfg: dict):
    """Refuses a type that is not registered, arguments that it does not take, and values of another kind.

    What a mask source segments with, ``segmenter``, and the ``pixel_loss`` of a loss are looked at too.

    Args:
        key (str): Of ``model.spd``, such as 'sgr'.
        cfg (dict): Config of that part.

    Raises:
        ValueError: Something of that, with its key.
    """
    registry = TASK_UTILS if key == 'schedule' else MODELS
    kind = registry.get(str(cfg.get('type')))
    if kind is None:
        raise ValueError(unknown_type(f'model.spd.{key}', cfg.get('type'), [registry]))
    takes = inspect.signature(kind).parameters
    given = {name: value for name, value in cfg.items() if name not in ('type', '_scope_')}
    unknown = sorted(set(given) - set(takes))
    if unknown and not any(one.kind is one.VAR_KEYWORD for one in takes.values()):
        raise ValueError(
            f'model.spd.{key} has keys {unknown} that {kind.__name__} does not take; it takes {list(takes)}'
        )
    for name, value in given.items():
        if name in takes:
            _check_kind(f'model.spd.{key}.{name}', takes[name].annotation, value)
    for name in ('segmenter', 'pixel_loss'):
        if isinstance(given.get(name), dict):
            check_arguments(f'{key}.{name}', given[name])


def unknown_type(key: str, kind, registries: Iterable[Registry]) -> str:
    """What to say of a type that none of the registries has, with the nearest that they have."""
    names = {name for one in registries for node in _family(one) for name in node.module_dict}
    return (
        f'{key}.type = {kind!r} is not registered{nearest(kind, names)}. A class of your own is registered when its '
        "module is imported: custom_imports = dict(imports=['its.module'])"
    )


def _family(node: Optional[Registry]) -> Iterator[Registry]:
    while node is not None:
        yield node
        node = node.parent


def _check_kind(key: str, annotation: Any, value):
    kinds = _kinds_of(annotation)
    if kinds and not any(KINDS[kind][0](value) for kind in kinds):
        raise ValueError(f'{key} must be {_words(kinds)}, found {value!r}')


def kind_problem(parameter: inspect.Parameter, value) -> Optional[str]:
    """Says that an argument of anybody's function must be a number, and is none; None where it may serve.

    More lenient than :func:`check_arguments`, for annotations of others are not always true: any number serves.

    Args:
        parameter (Parameter): The argument, of a signature.
        value (object): What a config gives.
    """
    kinds = [kind for kind in _kinds_of(parameter.annotation) if kind is not type(None)]
    if not kinds or set(kinds) - {bool, int, float} or isinstance(value, (bool, int, float)):
        return None
    if value is None and parameter.default is not parameter.empty:
        return None
    return f'must be {_words(kinds)}, found {value!r}'


def _kinds_of(annotation) -> tuple:
    """The kinds of an annotation; none where it has others, which are left to their part."""
    kinds = get_args(annotation) if get_origin(annotation) in UNIONS else (annotation,)
    kinds = tuple(kind for kind in kinds if kind is not torch.Tensor)  # no config holds one
    return kinds if all(isinstance(kind, type) and kind in KINDS for kind in kinds) else ()


def _words(kinds) -> str:
    return ' or '.join(KINDS[kind][1] for kind in kinds)


#: Classes that hand their further arguments on, to what takes them.
HANDED_ON = {CheckpointHook: Runner.save_checkpoint}
#: Settings that must be above 0 where a class of OpenMMLab or PyTorch takes them.
ABOVE_ZERO = {
    *('T_max', 'accumulative_counts', 'batch_size', 'clip_value', 'gt_patch_size', 'lr', 'max_epochs', 'max_iters'),
    *('max_norm', 'pad_size_divisor', 'std', 'step_size', 'total_steps', 'val_interval', 'window_size'),
}
#: Those that must be at least 0.
AT_LEAST_ZERO = {'crop_border', 'eps', 'eta_min', 'loss_weight', 'num_workers', 'weight_decay'}
#: Those that count. Upstream takes 2.5 and compares an iteration with it.
WHOLE = {
    *('T_max', 'accumulative_counts', 'batch_size', 'crop_border', 'gt_patch_size', 'interval', 'max_epochs'),
    *('max_iters', 'num_workers', 'val_interval', 'window_size'),
}
#: Those with few values. Upstream takes any other for one of them, or ends at the first validation.
CHOICES = dict(
    color_type=('color', 'grayscale', 'unchanged', 'color_ignore_orientation', 'grayscale_ignore_orientation'),
    channel_order=('bgr', 'rgb'),
    convert_to=(None, 'y'),
    imdecode_backend=(None, 'cv2', 'pillow', 'tifffile', 'turbojpeg'),
    input_order=('HWC', 'CHW'),
    mp_start_method=('fork', 'forkserver', 'spawn'),
    rule=(None, 'greater', 'less'),
)
#: Those of one kind that upstream does not annotate so: the kind, and the words for it.
BY_KIND = dict(
    data_root=(str, 'a text'),
    dynamic_intervals=(list, 'a list of pairs'),
    pipeline=(list, 'a list of transforms'),
    seed=(int, 'a whole number'),
)
UPSTREAM = ('mmagic', 'mmcv', 'mmengine', 'mmsampriors', 'torch')
BY_NAME = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
NEAR = 0.6  # similarity, in [0, 1], from which a name is proposed


def accepted(kind: Callable) -> Tuple[Dict[str, inspect.Parameter], bool]:
    """The arguments that a class or function takes by name, and whether it takes any others.

    ``**kwargs`` that a class only hands to its base are what the base takes.
    """
    takes = {}
    for one in kind.__mro__ if inspect.isclass(kind) else [kind]:
        function = one.__dict__.get('__init__') if inspect.isclass(one) else one
        if function is None:
            continue
        parameters = _parameters(function)
        if parameters is None:
            return takes, True
        takes = {**{name: each for name, each in parameters.items() if each.kind in BY_NAME}, **takes}
        others = next((name for name, each in parameters.items() if each.kind is each.VAR_KEYWORD), None)
        if one in HANDED_ON:
            return {**accepted(HANDED_ON[one])[0], **takes}, False
        if others is None or not _only_for_the_base(function, others):
            return takes, others is not None
    return takes, True


def nearest(name: str, names: Iterable[str]) -> str:
    """The one of ``names`` that may be meant, as the end of a clause; nothing where none is like it."""
    small = {known.lower(): known for known in sorted(names)}
    found = [small[one] for one in difflib.get_close_matches(str(name).lower(), small, 1, NEAR)]
    return f' (is {found[0]} meant?)' if found else ''


def problems_of_call(path, given, function) -> Iterator[str]:
    """What is wrong with the arguments that a function is given."""
    takes, others = accepted(function)
    if not others:
        yield from problems_of_keys(path, given, takes, function)
    for name, value in (given or {}).items():
        wrong = takes.get(name) and kind_problem(takes[name], value)
        if wrong:
            yield f'{path}.{name} {wrong}'
        elif name in takes and is_upstream(function) and (must := _must(name, value)):
            yield f'{path}.{name} must be {must}, found {value!r}'


def _must(name, value) -> Optional[str]:
    """What a setting of upstream must be and is not."""
    numbers = _numbers(value)
    if name in BY_KIND and not isinstance(value, (BY_KIND[name][0], type(None))):
        return BY_KIND[name][1]
    if name == 'pipeline' and not value:
        return 'a list of transforms'
    if name in WHOLE and any(isinstance(one, float) for one in numbers):
        return 'a whole number'
    if name in ABOVE_ZERO and not all(0 < one < math.inf for one in numbers):
        return 'greater than 0'
    if name == 'interval' and value == 0:
        return 'greater than 0, or -1 for never'
    if name == 'seed' and not all(0 <= one < 2**32 for one in numbers):
        return 'from 0 to 4294967295'
    if name in AT_LEAST_ZERO and not all(0 <= one < math.inf for one in numbers):
        return 'at least 0'
    choices = [*CHOICES.get(name, ()), *(str(one).upper() for one in CHOICES.get(name, ()))]
    if choices and not all(one in choices for one in (value if isinstance(value, (list, tuple)) else [value])):
        return f'one of {CHOICES[name]}'
    return None


def problems_of_keys(path, given, keys, function=None) -> Iterator[str]:
    for name in given or {}:
        if name not in keys:
            by = f'{function.__name__} does not take' if function else 'nothing reads'
            known = ', '.join(sorted(set(keys) - {'self'})) or 'none'
            yield f'{path} has the key {name!r}, which {by}{nearest(name, keys)}; there are {known}'


def _parameters(function) -> Optional[dict]:
    try:
        parameters = dict(inspect.signature(function).parameters)
    except (TypeError, ValueError):  # some that are written in C
        return None
    return {name: one.replace(annotation=_annotation(one, function)) for name, one in parameters.items()}


def _annotation(parameter, function):
    """What an argument is annotated with; in torch 2.14 that is often text (``from __future__ import annotations``)."""
    if not isinstance(parameter.annotation, str):
        return parameter.annotation
    try:
        return eval(parameter.annotation, getattr(function, '__globals__', {}))
    except Exception:  # names that are there for type checkers only
        return parameter.empty


def _only_for_the_base(function, others) -> bool:
    """Whether ``**kwargs`` is used for nothing but ``super().__init__(**kwargs)``."""
    try:
        nodes = list(ast.walk(ast.parse(textwrap.dedent(inspect.getsource(function)))))
    except (OSError, SyntaxError, TypeError):
        return False

    def is_it(node):
        return isinstance(node, ast.Name) and node.id == others

    calls = [node for node in nodes if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)]
    handed = [key for call in calls if call.func.attr == '__init__' for key in call.keywords if is_it(key.value)]
    return len(handed) == sum(map(is_it, nodes)) > 0


def is_upstream(function) -> bool:
    return (getattr(function, '__module__', None) or '').split('.')[0] in UPSTREAM


def _numbers(value) -> list:
    values = value if isinstance(value, (list, tuple)) else [value]
    return [one for one in values if isinstance(one, (int, float))]

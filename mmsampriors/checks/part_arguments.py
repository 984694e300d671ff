"""What a config gives to the parts of ``model.spd``: names and kinds of arguments, by the constructors' signatures."""

import inspect
import math
from typing import Any, Callable, Dict, Tuple, Union, get_args, get_origin

from mmsampriors.registry import MODELS, TASK_UTILS


def _is_whole(value) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value) -> bool:
    return _is_whole(value) or (isinstance(value, float) and math.isfinite(value))


#: Annotation to its test and to the words for it. Arguments that are annotated otherwise are left to their part.
KINDS: Dict[type, Tuple[Callable, str]] = {
    bool: (lambda value: isinstance(value, bool), 'True or False'),
    int: (_is_whole, 'a whole number'),
    float: (_is_number, 'a finite number'),
    str: (lambda value: isinstance(value, str), 'a text'),
    dict: (lambda value: isinstance(value, dict), 'a dict'),
    type(None): (lambda value: value is None, 'None'),
}


def check_arguments(key: str, cfg: dict):
    """Refuses a type that is not registered, arguments that it does not take, and values of another kind.

    What a mask source segments with, ``segmenter``, is looked at too.

    Args:
        key (str): Of ``model.spd``, such as 'sgr'.
        cfg (dict): Config of that part.

    Raises:
        ValueError: Something of that, with its key.
    """
    kind = (TASK_UTILS if key == 'schedule' else MODELS).get(str(cfg.get('type')))
    if kind is None:
        raise ValueError(f'model.spd.{key}.type = {cfg.get("type")!r} is not registered')
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
    if isinstance(given.get('segmenter'), dict):
        check_arguments(f'{key}.segmenter', given['segmenter'])


def _check_kind(key: str, annotation: Any, value):
    kinds = get_args(annotation) if get_origin(annotation) is Union else (annotation,)
    if any(kind not in KINDS for kind in kinds):
        return
    if not any(KINDS[kind][0](value) for kind in kinds):
        words = ' or '.join(KINDS[kind][1] for kind in kinds)
        raise ValueError(f'{key} must be {words}, found {value!r}')

"""Reading plain data only: values out of Python files, and what checkpoints hold out of pickles."""

import ast
import pickle
from typing import Any, Dict

#: What reprs of floats that are no literals mean.
FLOATS = dict(inf=float('inf'), nan=float('nan'))


class PlainConfigError(ValueError):
    """A config that does more than name values, or names what a student may not bring."""


def plain_values(text: str) -> Dict[str, Any]:
    """The values of a config's text, which is not run.

    Raises:
        PlainConfigError: It has bases, code, or is no Python.
    """
    values = {}
    try:
        for statement in ast.parse(text).body:
            if not (isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name)):
                raise PlainConfigError(f'line {statement.lineno} is no plain assignment')
            values[statement.targets[0].id] = _value(statement.value)
    except PlainConfigError:
        raise
    except (SyntaxError, ValueError, TypeError, RecursionError, MemoryError) as error:
        raise PlainConfigError(str(error) or type(error).__name__) from None
    if '_base_' in values:
        raise PlainConfigError('it has bases')
    return values


def _value(node):
    if isinstance(node, ast.Call):
        named = isinstance(node.func, ast.Name) and node.func.id == 'dict' and not node.args
        if named and all(keyword.arg for keyword in node.keywords):
            return {keyword.arg: _value(keyword.value) for keyword in node.keywords}
        raise PlainConfigError(f'line {node.lineno} calls something')
    if isinstance(node, (ast.List, ast.Tuple)):
        items = [_value(item) for item in node.elts]
        return items if isinstance(node, ast.List) else tuple(items)
    if isinstance(node, ast.Dict):
        return {_value(key): _value(value) for key, value in zip(node.keys, node.values)}
    if isinstance(node, ast.Name) and node.id in FLOATS:
        return FLOATS[node.id]
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return -_value(node.operand)
    try:
        return ast.literal_eval(node)
    except ValueError:
        raise PlainConfigError(f'line {getattr(node, "lineno", "?")} holds more than values') from None


#: Besides tensors, which torch's own list names: mmengine's log, whose numbers are numpy's.
NAMES = {
    'mmengine.logging.history_buffer.HistoryBuffer',
    'numpy.dtype',
    'numpy.ndarray',
    *(f'numpy.{core}.multiarray.{name}' for core in ('core', '_core') for name in ('_reconstruct', 'scalar')),
}


class Unpickler(pickle.Unpickler):
    """Refuses every global that is in neither list."""

    def find_class(self, module, name):
        path = f'{module}.{name}'.replace('__builtin__.', 'builtins.')
        if path == 'builtins.getattr':
            return statistic_of_history
        import torch._weights_only_unpickler as weights_only  # not above: configs are read without torch

        known = weights_only._get_allowed_globals()
        if path not in NAMES and path not in known:
            raise pickle.UnpicklingError(
                f'a checkpoint asks for {path}, which no checkpoint of weights needs: it may be malicious and is not '
                'loaded'
            )
        return known[path] if path in known else super().find_class(module, name)


def load(file, **options):
    """As ``pickle.load``."""
    return Unpickler(file, **options).load()


def statistic_of_history(owner, name: str):
    """The ``getattr`` that a checkpoint may call: HistoryBuffer's own statistics and nothing else."""
    from mmengine.logging import HistoryBuffer

    if owner is not HistoryBuffer or name not in ('min', 'max', 'mean', 'current'):
        raise ValueError(
            f'a checkpoint asks for the attribute {name!r} of {owner!r}, which no mmengine checkpoint '
            'needs: it may be malicious and is not loaded'
        )
    return getattr(owner, name)

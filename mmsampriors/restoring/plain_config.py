"""Reads the config of an exported student without running it."""

import ast
from pathlib import Path
from typing import Any, Dict


class PlainConfigError(ValueError):
    """A config that does more than name values."""


def read_plain_config(path) -> Dict[str, Any]:
    """The values of a config file that holds nothing but values, as exports are.

    Args:
        path (str | Path): ``student.py``: assignments of literals and of ``dict(...)`` of them.

    Raises:
        FileNotFoundError: There is no such file.
        PlainConfigError: It has bases or code. It is not run.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(
            f"there is no {path}, the student's config: it is written beside the weights by tools/export_student.py "
            'and by training. Put it there, or name another config with --config'
        )
    values = {}
    try:
        for statement in ast.parse(path.read_text(), str(path)).body:
            if not (isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name)):
                raise PlainConfigError(f'line {statement.lineno} is no plain assignment')
            values[statement.targets[0].id] = _value(statement.value)
        if '_base_' in values:
            raise PlainConfigError('it has bases')
    except (SyntaxError, PlainConfigError) as error:
        raise PlainConfigError(
            f"{path} is not a student's config as it is exported ({error}), and is not run. If you trust it, name it "
            'with --config and the weights with --checkpoint'
        ) from None
    return values


def _value(node):
    if isinstance(node, ast.Call):
        if isinstance(node.func, ast.Name) and node.func.id == 'dict' and not node.args:
            return {keyword.arg: _value(keyword.value) for keyword in node.keywords}
        raise PlainConfigError(f'line {node.lineno} calls something')
    if isinstance(node, (ast.List, ast.Tuple)):
        items = [_value(item) for item in node.elts]
        return items if isinstance(node, ast.List) else tuple(items)
    if isinstance(node, ast.Dict):
        return {_value(key): _value(value) for key, value in zip(node.keys, node.values)}
    try:
        return ast.literal_eval(node)
    except ValueError:
        raise PlainConfigError(f'line {node.lineno} holds more than values') from None

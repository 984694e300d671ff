"""The config of an exported student: read without running it, and what may be built of it."""

import importlib
import os
import sys
from pathlib import Path
from typing import Any, Dict

from mmsampriors.compat.plain_data import PlainConfigError, plain_values

TRUSTED = 'If you trust it, name it with --config and the weights with --checkpoint'
#: What ends the name of a file of weights.
WEIGHTS = ('.bin', '.ckpt', '.npz', '.onnx', '.pkl', '.pt', '.pth', '.safetensors')


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
    try:
        values = plain_values(path.read_text(encoding='utf-8-sig'))
    except (PlainConfigError, UnicodeDecodeError) as error:
        raise PlainConfigError(
            f"{path} is not a student's config as it is exported ({error}), and is not run. {TRUSTED}"
        ) from None
    return values


def import_modules(cfg: dict, path, allowed: bool):
    """Imports the modules that a student's config names in ``custom_imports``, if that is allowed.

    Raises:
        PlainConfigError: It names modules, and that is not allowed.
    """
    custom = cfg.get('custom_imports') or {}
    names = custom.get('imports') if isinstance(custom, dict) else custom
    names = [names] if isinstance(names, str) else list(names or ())
    if names and not allowed:
        raise PlainConfigError(
            f'{path} asks to import {names} (custom_imports), whose code would run. If you trust it, allow that with '
            '--allow-imports, in Python with Restorer(..., allow_imports=True)'
        )
    for name in names:
        importlib.import_module(name)


def buildable_model(cfg: dict, path) -> dict:
    """``model`` of a student's config with nothing in its network that runs foreign code or reads a file.

    What names weights to start from is left out: the student has its own.

    Args:
        cfg (dict): As read. Its modules are imported.
        path (str | Path): Its file, for errors.

    Raises:
        PlainConfigError: It has no network, or names a type that is not registered, a scope that is not there, or a
            file.
    """
    model = cfg.get('model')
    if not isinstance(model, dict) or not isinstance(model.get('generator'), dict):
        raise PlainConfigError(f'{path} describes no student: it has no model.generator with a type')
    try:
        _refuse_scope(cfg.get('default_scope'), 'default_scope')
        parts = {
            key: _buildable(model[key], f'model.{key}') for key in ('generator', 'data_preprocessor') if key in model
        }
    except PlainConfigError as error:
        raise PlainConfigError(f'{path}: {error}. {TRUSTED}') from None
    return {**model, **parts}


def _buildable(node, key):
    if isinstance(node, (list, tuple)):
        return type(node)(_buildable(item, f'{key}[{index}]') for index, item in enumerate(node))
    if isinstance(node, str) and _may_be_a_file(node):
        raise PlainConfigError(f'{key} names a file, {node!r}: a network of an exported student reads none')
    if not isinstance(node, dict):
        return node
    _refuse_scope(node.get('_scope_'), f'{key}._scope_')
    if 'type' in node and not _is_registered(node['type']):
        raise PlainConfigError(
            f'{key}.type must be the name of a registered network or layer, found {node["type"]!r}; nothing of it ran'
        )
    return {name: _buildable(value, f'{key}.{name}') for name, value in node.items() if not _starts_weights(name)}


def _may_be_a_file(text):
    # In the current folder a file of any name, or a link or pipe, may be a stranger's too.
    there = '\0' not in text and os.path.lexists(text) and not os.path.isdir(text)
    return set('/\\') & set(text) or text.lower().endswith(WEIGHTS) or there


def _starts_weights(name):
    return name == 'init_cfg' or 'pretrained' in str(name)


def _refuse_scope(scope, key):
    if scope is not None and scope not in [registry.scope for registry in _registries()]:
        raise PlainConfigError(f'{key} must be the scope of a registry that is there, found {scope!r}')


def _is_registered(kind) -> bool:
    """Whether a type, ``Name``, ``scope.Name`` or ``module.Name``, is registered; imports nothing."""
    if not isinstance(kind, str):
        return False
    front, _, name = kind.rpartition('.')
    if not front or front in [registry.scope for registry in _registries()]:
        return any(name in registry.module_dict for registry in _registries())
    named = getattr(sys.modules.get(front), '__dict__', {}).get(name)
    return named is not None and any(named in registry.module_dict.values() for registry in _registries())


def _registries():
    """mmengine's registry of models and all below it, with what this package and mmagic register."""
    from mmengine.registry import MODELS as ROOT

    from mmsampriors.registry import MODELS

    MODELS.import_from_location()
    found = [ROOT]
    for registry in found:
        found += registry.children.values()
    return found

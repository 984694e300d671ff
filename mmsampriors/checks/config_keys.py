"""Names in a config, and overrides on the command line, that nothing reads."""

import ast
import difflib
import inspect
import re
from typing import NamedTuple, Optional, Set

from mmengine.config import Config
from mmengine.runner import Runner

from mmsampriors.compat.upstream import base_files

from .config_reading import nodes_of

#: Top-level keys that are read from a config when it is used. Others are names that config files themselves use.
USED_KEYS = {
    *inspect.signature(Runner).parameters,
    *('runner_type', 'model_wrapper_cfg', 'compile', 'custom_imports', 'gpu_ids', 'data_help'),
} - {'cfg'}
#: Similarity, in [0, 1], from which a name is taken for another one misspelt.
CLOSE = 0.85


class ConfigFile(NamedTuple):
    """A config file, what it says with all that it inherits, and the files that it inherits."""

    path: str
    config: Config
    bases: list

    @classmethod
    def of(cls, path: str) -> 'ConfigFile':
        """Reads a file and its bases."""
        bases = [cls.of(base) for base in base_files(path)]
        return cls(path, Config.fromfile(path, import_custom_modules=False), bases)

    def family(self):
        """The file, and all that it inherits."""
        yield self
        for base in self.bases:
            yield from base.family()


def check_keys(cfg: Config, file: Optional[ConfigFile]):
    """Refuses a top-level name that is a used key misspelt, or that changes what its base has copied already.

    Helper names of a config's own are left alone: they are read in the file itself.

    Args:
        cfg (Config): The config.
        file (ConfigFile, optional): The file that it was read from.

    Raises:
        ValueError: A name is not read, and is close to a key that is; or a name of the base was written anew, and what
            the base made of it stays.
    """
    read = {name for one in file.family() for name in _names_read(one.path)} if file else set()
    for name in sorted(set(cfg.keys()) - USED_KEYS - read):
        nearest = _nearest(name)
        if nearest:
            raise ValueError(
                f'{name} in the config has no effect: nothing reads it. Is {nearest} meant? A name of your own that is '
                'not used can be taken out'
            )
    for one in file.family() if file else ():
        _check_redefined(one)


def check_overrides(cfg: Config, options: dict):
    """Refuses overrides of names that are read in the config file only, where they have been copied by now.

    Args:
        cfg (Config): The config without the overrides.
        options (dict): Dotted key to value, as ``--cfg-options`` gives them.

    Raises:
        ValueError: An override has no effect; the message says what to set instead, where that can be found.
    """
    for key in options:
        name, *rest = key.split('.')
        if name in USED_KEYS or name == 'spd':  # config_check sees to spd, which may say the same as model.spd
            continue
        if name not in cfg:
            nearest = _nearest(name, {*USED_KEYS, *cfg.keys()})
            hint = f' Is {nearest} meant?' if nearest else ''
            raise ValueError(
                f'--cfg-options {key} has no effect: the config has no {name}, and nothing reads it.{hint}'
            )
        place = _place_of(cfg, name, rest)
        hint = f'set {place} instead' if place else 'set the key that was made of it, or change it in the config file'
        raise ValueError(
            f'--cfg-options {key} has no effect: {name} is a name of the config file, which copied it when it was '
            f'read: {hint}'
        )


def plain(node):
    """A part of a config as dicts and lists, without the scopes that mmengine adds."""
    if isinstance(node, dict):
        return {key: plain(value) for key, value in node.items() if key != '_scope_'}
    if isinstance(node, (list, tuple)):
        return [plain(value) for value in node]
    return node


def _nearest(name, keys=USED_KEYS) -> Optional[str]:
    found = difflib.get_close_matches(name, sorted(keys), 1, CLOSE)
    # optim_wrapper_2 is a variant, and no slip of the pen.
    return found[0] if found and not re.fullmatch(rf'{re.escape(found[0])}_?(_\w+|\d+)', name) else None


def _names_read(path) -> Set[str]:
    """Names that a config file reads: its own, and those of ``_base_``. YAML and JSON have the latter only."""
    with open(path, encoding='utf-8') as file:
        text = file.read()
    nodes = list(ast.walk(ast.parse(text))) if path.endswith('.py') else []
    names = {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)}
    return (
        names
        | {node.attr for node in nodes if isinstance(node, ast.Attribute)}
        | set(re.findall(r'_base_\.(\w+)', text))
    )


def _check_redefined(file: ConfigFile):
    """Refuses ``train_pipeline = [...]`` in a child whose loader still has the pipeline of its base."""
    read = _names_read(file.path)
    for base in file.bases:
        for name in sorted(set(base.config.keys()) & set(file.config.keys()) - USED_KEYS - {'spd'} - read):
            before, now = plain(base.config[name]), plain(file.config[name])
            places = (
                _places(file.config, before) if before != now and isinstance(before, (dict, list)) and before else []
            )
            if places and not _places(file.config, now):
                raise ValueError(
                    f'{name} in {file.path} has no effect: {places[0]} was made of the one in {base.path}. Write '
                    f'{_assignment(places[0], name)}'
                )


def _assignment(place, name) -> str:
    """What to write in a config file so that ``place`` is ``name``."""
    top, *rest = place.split('.')
    text = name
    for key in reversed(rest):
        text = f'dict({key}={text})'
    return f'{top} = {text}'


def _place_of(cfg, name, rest) -> Optional[str]:
    """The used key that has been made of ``name``, or of what is below it, followed by the rest of the dotted key."""
    node, taken = cfg[name], 0
    while isinstance(node, (dict, list, tuple)) and node:
        places = _places(cfg, plain(node))
        if places:
            return '.'.join([places[0], *rest[taken:]])
        if taken == len(rest):
            return None
        try:
            node = node[int(rest[taken]) if isinstance(node, (list, tuple)) else rest[taken]]
        except (KeyError, IndexError, ValueError):
            return None
        taken += 1
    return None


def _places(cfg, value) -> list:
    """Dotted keys of the used part of a config that have a value."""
    return [
        path for name in USED_KEYS & set(cfg.keys()) for path, node in nodes_of(plain(cfg[name]), name) if node == value
    ]

"""No import runs upward: each part of the package knows only what stands on a lower floor."""

import ast
from pathlib import Path

import pytest

import mmsampriors

PACKAGE = Path(mmsampriors.__file__).resolve().parent
#: From the ground up. A module may import what stands on lower floors, and its own room.
FLOORS = [
    {'version', 'files', 'progress', 'compat.patching', 'compat.plain_data', 'compat.upstream'},
    {'checkpoints'},
    {'compat'},
    {'command_line', 'registry', 'images'},
    {'masks', 'data_preparation'},
    {'reports'},
    {'models'},
    {'datasets'},
    {'evaluation', 'checks'},
    {'engine'},
    {'inference'},
    {'experiments', 'demo'},
    {'quickstart'},
]
#: Packages that a room must do without.
WITHOUT = {'masks': ('mmagic', 'mmengine', 'mmcv'), 'reports': ('mmagic',), 'files': ('torch', 'mmengine', 'mmagic')}


def modules():
    for path in sorted(PACKAGE.rglob('*.py')):
        if '.mim' not in path.parts:
            name = path.relative_to(PACKAGE).with_suffix('').parts
            yield path, name[:-1] if name[-1] == '__init__' else name


def imported(path, name):
    """Dotted names of all that a module imports, also inside functions."""
    package = name if path.name == '__init__.py' else name[:-1]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = ('mmsampriors', *package[: len(package) - node.level + 1]) if node.level else ()
            yield '.'.join([*above, *filter(None, [node.module])])
            # `from . import compat` imports a module
            yield from ('.'.join([*above, *filter(None, [node.module]), alias.name]) for alias in node.names)


def floor_of(parts):
    """Number of the floor of a module, by the longest name that stands on one."""
    for length in range(len(parts), 0, -1):
        for number, rooms in enumerate(FLOORS):
            if '.'.join(parts[:length]) in rooms:
                return number
    return None


MODULES = [(path, name) for path, name in modules() if name]


@pytest.mark.parametrize('path, name', MODULES, ids=lambda value: '.'.join(value) if isinstance(value, tuple) else '')
def test_imports_run_downward(path, name):
    own = floor_of(name)
    assert own is not None, f'{".".join(name)} stands on no floor: add its room to FLOORS'
    for found in imported(path, name):
        parts = tuple(found.split('.'))
        if parts[0] == 'mmsampriors' and len(parts) > 1:
            floor = floor_of(parts[1:])
            same_room = parts[1] == name[0]
            assert floor is None or floor < own or same_room, f'{".".join(name)} imports {found}, from a floor above'
        assert parts[0] not in WITHOUT.get(name[0], ()), f'{".".join(name)} imports {found}'


def test_masks_need_no_mmagic_at_run_time():
    names = {found.split('.')[0] for path, name in MODULES if name[0] == 'masks' for found in imported(path, name)}
    assert {'torch', 'segment_anything'} <= names and not names & {'mmagic', 'mmengine', 'mmcv'}

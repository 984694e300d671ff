"""Which photographs a command names, and where each restored one goes."""

import glob
import os
from dataclasses import dataclass
from pathlib import Path
from typing import List, Sequence

from .photographs import FORMATS, SUFFIXES


@dataclass(frozen=True)
class Found:
    """One photograph.

    Args:
        path (Path): The file.
        name (Path): Where its result goes, below the folder of results: the same name, and the same folders below the
            folder that was named. A format that is not written becomes PNG.
    """

    path: Path
    name: Path


def find_photographs(inputs: Sequence[str], out=None) -> List[Found]:
    """The photographs that files, folders and globs name, in order of their names.

    Args:
        inputs (list[str]): Files, folders, which are searched to any depth, and globs, ``**`` among them.
        out (str | Path, optional): The folder of results. What it holds is not taken for input.

    Raises:
        FileNotFoundError: Nothing is there, or nothing that looks like a photograph.
        ValueError: A result would overwrite its photograph, or two results would have one name.
    """
    out, found = None if out is None else Path(out).resolve(), {}
    for text in inputs:
        for one in _expand(text, out):
            found.setdefault(one.path.resolve(), one)
    found = sorted(found.values(), key=lambda one: (str(one.name), str(one.path)))
    by_name = {}
    for one in found:
        if out is not None and (out / one.name).resolve() == one.path.resolve():
            raise ValueError(f'{one.path} would be overwritten by its result: name another folder with --out')
        other = by_name.setdefault(str(one.name).lower(), one)
        if other is not one:
            raise ValueError(
                f'{other.path} and {one.path} would both become {one.name}: restore them in two calls, with '
                'another --out each'
            )
    return found


def _expand(text, out):
    path = Path(text)
    if path.is_dir():
        files = [Found(file, _result(file.relative_to(path))) for file in _below(path, out)]
        if not files:
            raise FileNotFoundError(f'there is no photograph in {text}: looked for {", ".join(sorted(SUFFIXES))}')
        return files
    if path.exists() or not glob.has_magic(text):
        # A file that is named is tried, whatever its suffix, and one that is missing is told with the others.
        return [Found(path, _result(Path(path.name)))]
    matches = [Path(match) for match in sorted(glob.glob(text, recursive=True))]
    files = [match for match in matches if match.is_file() and out not in match.resolve().parents]
    if not files:
        raise FileNotFoundError(f'no file matches {text}')
    fixed = Path(*_fixed_parts(text))
    return [Found(file, _result(file.relative_to(fixed))) for file in files]


def _fixed_parts(pattern):
    """The folders of a glob that hold no wildcard."""
    parts = []
    for part in Path(pattern).parent.parts:
        if glob.has_magic(part):
            break
        parts.append(part)
    return parts


def _below(folder, out):
    for parent, folders, names in os.walk(folder):
        folders[:] = sorted(
            name for name in folders if not name.startswith('.') and Path(parent, name).resolve() != out
        )
        for name in sorted(names):
            if not name.startswith('.') and Path(name).suffix.lower() in SUFFIXES:
                yield Path(parent, name)


def _result(name):
    return name if name.suffix.lower() in FORMATS else name.with_name(f'{name.name}.png')

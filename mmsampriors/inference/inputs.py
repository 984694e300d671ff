"""Which photographs are restored, and where the results go."""

import glob
import os.path as osp
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Dict, List, Sequence

from mmsampriors.files import MadeFiles, refuse_remote
from mmsampriors.images import FORMATS, SUFFIXES, images_in

RESTORED, REFINED, COMPARED = 'restored', 'refined', 'compared'  # kinds of results


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


def kinds_of(refined: bool, compared: bool) -> List[str]:
    """The kinds of results where refined images or panels are asked for."""
    return [RESTORED, *([REFINED] if refined else []), *([COMPARED] if compared else [])]


def results_of(one: Found, kinds: Sequence[str]) -> Dict[str, Path]:
    """The files of the results of a photograph, below the folder of results.

    Args:
        one (Found): The photograph.
        kinds (list[str]): What is written; all but ``RESTORED`` goes into folders of these names.
    """
    name = one.name
    files = {RESTORED: name, REFINED: Path(REFINED) / name, COMPARED: Path(COMPARED) / f'{name}.jpg'}
    return {kind: files[kind] for kind in kinds}


def find_photographs(
    inputs: Sequence[str], out=None, kinds: Sequence[str] = (RESTORED,), results: Callable = results_of, tool='restore'
) -> List[Found]:
    """The photographs that files, folders and globs name, in order of their names.

    Args:
        inputs (list[str]): Files, folders, which are searched to any depth, and globs, ``**`` among them.
        out (str | Path, optional): The folder of results. What it holds is not taken for input, nor what the tool made
            for another folder of results below a folder that is searched.
        kinds (list[str]): What will be written there.
        results (callable): Which files these are: takes a Found and ``kinds``, as :func:`results_of`.
        tool (str): The name of the tool that writes them.

    Raises:
        FileExistsError: A result would replace a file that no earlier run made.
        FileNotFoundError: Nothing is there, or nothing that looks like a photograph.
        ValueError: A result would overwrite its photograph, two results would have one name, or a name is the address
            of a storage service.
    """
    for text in inputs:
        refuse_remote(text, 'photographs')
    refuse_remote(out or '', 'a folder for the results')
    out, found = None if out is None else Path(out).resolve(), {}
    for text in inputs:
        for one in _expand(text, out, tool):
            # A link to a file is a file of its own.
            found.setdefault((osp.realpath(one.path.parent), one.path.name), one)
    found = sorted(found.values(), key=lambda one: (str(one.name), str(one.path)))
    _refuse_clashes([(one, name) for one in found for name in results(one, kinds).values()], out, tool)
    return found


def _refuse_clashes(results, out, tool):
    by_name = {}
    for one, name in results:
        if out is not None and osp.realpath(out / name) == osp.realpath(one.path):
            raise ValueError(f'{one.path} would be overwritten by its result: name another folder with --out')
        other = by_name.setdefault(str(name).lower(), one)
        if other is not one:
            raise ValueError(
                f'results of {other.path} and {one.path} would both become {name}: name them in two calls, with '
                'another --out each'
            )
    if out is not None:
        MadeFiles(out, tool).refuse_others(name for _, name in results)


def _expand(text, out, tool):
    path = Path(text)
    if path.is_dir():
        photographs = [file for file in images_in(path, leave_out=out) if not _is_result(file, path, out, tool)]
        files = [Found(file, _result(file.relative_to(path))) for file in photographs]
        if not files:
            raise FileNotFoundError(f'there is no photograph in {text}: looked for {", ".join(sorted(SUFFIXES))}')
        return files
    if path.exists() or not glob.has_magic(text):
        # A file that is named is tried, whatever its suffix, and one that is missing is reported with the others.
        return [Found(path, _result(Path(path.name)))]
    matches = [Path(match) for match in sorted(glob.glob(text, recursive=True))]
    fixed = Path(*_fixed_parts(text))
    files = [match for match in matches if match.is_file() and out not in match.resolve().parents]
    files = [file for file in files if not _is_result(file, fixed, out, tool)]
    if not files:
        raise FileNotFoundError(f'no file matches {text}')
    return [Found(file, _result(file.relative_to(fixed))) for file in files]


def _is_result(file, searched, out, tool):
    """Whether the tool made a file, for ``out`` or for a folder below the one that is searched.

    What the searched folder itself holds may be restored once more, into another folder.
    """
    below = [folder for folder in file.parents if folder.is_relative_to(searched) and folder != searched]
    if out is not None and searched.resolve() == out:
        below.append(searched)
    return any(MadeFiles(folder, tool).knows(file.relative_to(folder)) for folder in below)


def _fixed_parts(pattern):
    """The folders of a glob that hold no wildcard."""
    parts = []
    for part in Path(pattern).parent.parts:
        if glob.has_magic(part):
            break
        parts.append(part)
    return parts


def _result(name):
    return name if name.suffix.lower() in FORMATS else name.with_name(f'{name.name}.png')

"""The data of the evidence: photographs in three parts, their label maps, and pairs by the project's converters."""

import hashlib
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

from PIL import Image

from mmsampriors.data_preparation.pairs import make_pairs, photographs_by_name
from mmsampriors.files import written_whole

from .presets import DEGRADATIONS

#: One in so many photographs is held out, for every ablation and choice.
HELD_OUT = 10


@dataclass(frozen=True)
class Photographs:
    """Where the photographs come from.

    Args:
        photographs (str): Folder to train on, one in ten held out.
        segments (str, optional): Folder of their label maps, ``NAME.png``.
        eval_photographs (str, optional): Folder for the final figures alone.
        eval_segments (str, optional): Folder of their label maps.
        eval_name (str): What the rows call them.
    """

    photographs: str
    segments: Optional[str] = None
    eval_photographs: Optional[str] = None
    eval_segments: Optional[str] = None
    eval_name: str = 'eval'


def held_out_of(names) -> set:
    """The tenth of the photographs that is held out: those whose names have the smallest hashes."""
    return set(sorted(names, key=_rank)[: max(1, len(names) // HELD_OUT)])


def prepare(out: Path, source: Photographs, unlabeled: int = 0, multiple: int = 1) -> None:
    """Copies photographs to ``out/photographs/{train,held_out,EVAL_NAME}`` and label maps to ``out/segments/human``.

    ``out/segments/shuffled`` gets the control: to each photograph the label map of another, at its size. With
    ``unlabeled`` one photograph in so many of those that are not held out goes to ``out/photographs/unlabeled``.

    Label maps are cropped to multiples of ``multiple``, as the ground truth of super-resolution is.

    Raises:
        ValueError: A photograph has no label map, or train and eval share a name.
    """
    named = photographs_by_name(Path(source.photographs), out)
    held_out = held_out_of(named)
    parts = dict(
        train={name: path for name, path in named.items() if name not in held_out},
        held_out={name: named[name] for name in held_out},
    )
    if unlabeled:
        others = sorted(parts['train'], key=_rank)[::unlabeled]
        parts['unlabeled'] = {name: parts['train'].pop(name) for name in others}
    if source.eval_photographs:
        others = parts[source.eval_name] = photographs_by_name(Path(source.eval_photographs), out)
        shared = sorted(set(others) & set(named))
        if shared:
            raise ValueError(
                f'{source.eval_photographs} has photographs of the same names as {source.photographs}: '
                f'{shared[:5]}; the test needs other photographs'
            )
    for part, files in parts.items():
        for name, path in files.items():
            _copy(path, out / 'photographs' / part / f'{name}{path.suffix}')
    own = dict.fromkeys(('train', 'held_out', 'unlabeled'), source.segments)
    folders = {source.eval_name: source.eval_segments, **own}  # without others eval_name is held_out
    labelled = {
        name: Path(folders[part]) / f'{path.stem}.png'
        for part, files in parts.items()
        if folders[part]
        for name, path in files.items()
    }
    missing = [str(path) for path in labelled.values() if not path.is_file()]
    if missing:
        raise ValueError(f'{len(missing)} photographs have no label map; the first is {missing[0]}')
    for name, path in labelled.items():
        _copy_cropped(path, out / 'segments' / 'human' / f'{name}.png', multiple)
    _shuffle({name: out / 'segments' / 'human' / f'{name}.png' for name in labelled}, out / 'segments' / 'shuffled')


def label_maps_of(out: Path, part: str) -> Optional[Path]:
    """The folder of label maps, where every photograph of a part has one."""
    folder = out / 'segments' / 'human'
    maps = [folder / f'{path.stem}.png' for path in (out / 'photographs' / part).glob('*')]
    return folder if maps and all(path.is_file() for path in maps) else None


def pairs_of(out: Path, part: str, task: str, degradation: str) -> Path:
    """Folder of pairs, made where they are missing.

    Args:
        out (Path): Folder of the evidence.
        part (str): ``train``, ``unlabeled``, ``held_out`` or the name of those for the final figures.
        task (str): One of ``DEGRADATIONS``.
        degradation (str): One of ``DEGRADATIONS[task]``.
    """
    folder, photographs = out / 'pairs' / part / degradation, out / 'photographs' / part
    if not photographs.is_dir():
        raise ValueError(f'there are no photographs for {part}: name their folder with --eval-photographs')
    make_pairs(photographs, folder, *DEGRADATIONS[task][degradation], workers=os.cpu_count())
    return folder


def bitmaps_of(folder: Path, out: Path) -> None:
    """Copies the pairs of a folder, of which ``out`` holds bitmaps then; what is there is kept."""
    for path in sorted(folder.rglob('*.png')):
        target = (out / path.relative_to(folder)).with_suffix('.bmp')
        if not target.exists():
            with Image.open(path) as image, written_whole(target) as part:
                image.save(part, 'BMP')


def _rank(name):
    return hashlib.sha256(name.encode()).hexdigest()


def _shuffle(labelled, folder):
    """To each photograph the label map of the next, in an order that has nothing to do with the names."""
    order = sorted(labelled, key=_rank)
    for name, other in zip(order, order[1:] + order[:1]):
        if (folder / f'{name}.png').exists():
            continue
        with Image.open(labelled[name]) as own, Image.open(labelled[other]) as labels:
            with written_whole(folder / f'{name}.png') as part:
                labels.resize(own.size, Image.Resampling.NEAREST).save(part, 'PNG')


def _copy_cropped(path, target, multiple):
    if multiple == 1:
        _copy(path, target)
    elif not target.exists():
        with Image.open(path) as labels, written_whole(target) as part:
            width, height = (side // multiple * multiple for side in labels.size)
            labels.crop((0, 0, width, height)).save(part, 'PNG')


def _copy(path, target):
    if not target.exists():
        with written_whole(target) as part:
            shutil.copyfile(path, part)

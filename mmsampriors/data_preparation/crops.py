"""Cuts data sets of large images into crops, as publications do before training, so that reading stays cheap."""

import json
from pathlib import Path
from typing import Dict, List

import cv2
import numpy as np
from PIL import Image

from mmsampriors.files import PART, write_whole

from .pairs import PairError, refuse_truncated, work_off

RECORD = 'crops.json'


def cut_crops(
    images: Dict[str, Dict[str, Path]], out, *, size: int, overlap: int, whole_up_to: int = 0, workers: int = 1
) -> int:
    """Cuts every image into overlapping square crops, all images of one name at the same places.

    Crops that exist are kept, so that an interrupted run goes on where it was. What made the folder is kept in
    ``out/crops.json``.

    Args:
        images (dict[str, dict[str, Path]]): Name to template to file. A template is a path below ``out`` with ``{}``
            for the name of the crop, such as ``'noisy/{}_NOISY.png'``.
        out (str | Path): Folder to write.
        size (int): Side of a crop in pixels; 0 keeps the images whole.
        overlap (int): By how many pixels neighbours overlap; the last of a row or column overlaps by what it must.
        whole_up_to (int): Images with a side of so many pixels or less stay whole, as those do that are smaller than
            ``size``.
        workers (int): Threads.

    Returns:
        int: Number of names.

    Raises:
        PairError: The folder was made with other settings, or, when all others are done, images that cannot be used.
    """
    out = Path(out)
    _open_record(out, dict(size=size, overlap=overlap, whole_up_to=whole_up_to))
    for leftover in out.rglob(f'.*{PART}'):
        leftover.unlink()

    def cut(name):
        try:
            _cut_name(name, images[name], out, size, overlap, whole_up_to)
        except (OSError, ValueError) as error:
            return f'{name}: {error}'

    unusable = work_off(images, cut, workers, done=0, unit='image')
    if unusable:
        raise PairError(
            f'{len(unusable)} of {len(images)} images could not be used (the others are done):\n  '
            + '\n  '.join(sorted(unusable))
            + '\nGet them again or remove them, and run again.'
        )
    return len(images)


def crop_starts(length: int, size: int, overlap: int) -> List[int]:
    """Where crops of a side start: ``size - overlap`` apart, and the last one at the end.

    Args:
        length (int): Of the side, in pixels, at least ``size``.
        size (int): Of a crop.
        overlap (int): Less than ``size``.
    """
    return [*range(0, length - size, size - overlap), length - size]


def _cut_name(name, files, out, size, overlap, whole_up_to):
    sizes = {template: _size(path) for template, path in files.items()}
    if len(set(sizes.values())) > 1:
        raise ValueError(
            'its images have different sizes: '
            + ', '.join(f'{files[template]} {width}x{height}' for template, (width, height) in sizes.items())
        )
    width, height = next(iter(sizes.values()))
    places = {'': (0, 0, height, width)}
    if size and min(width, height) >= max(size, whole_up_to + 1):
        starts = [(y, x) for y in crop_starts(height, size, overlap) for x in crop_starts(width, size, overlap)]
        places = {f'_s{number:03}': (*start, size, size) for number, start in enumerate(starts, 1)}
    for template, path in files.items():
        missing = {out / template.format(name + suffix): place for suffix, place in places.items()}
        missing = {target: place for target, place in missing.items() if not target.exists()}
        if missing:
            image = _read(path)
            for target, (y, x, h, w) in missing.items():
                write_whole(target, cv2.imencode('.png', image[y : y + h, x : x + w])[1].tobytes())


def _size(path):
    with Image.open(path) as image:
        return image.size


def _read(path):
    refuse_truncated(path)
    image = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    if image is None:
        raise OSError(f'{path} is no readable image')
    return image


def _open_record(out, made_with):
    record = out / RECORD
    before = json.loads(record.read_text()) if record.exists() else made_with
    if before != made_with:
        raise PairError(
            f'{out} was made with other settings: {before} then, {made_with} now. Choose another folder, '
            'or remove this one.'
        )
    write_whole(record, json.dumps(made_with) + '\n')

"""Cuts data sets of large images into crops, as publications do before training, so that reading stays cheap."""

import json
from pathlib import Path
from typing import Dict, List

import cv2
import numpy as np

from mmsampriors.files import PART, refuse_unwritable, remove_abandoned, write_whole
from mmsampriors.images import PhotographError, open_image, read_rgb, to_eight_bits

from .pairs import refuse_other_settings, work_off

RECORD = 'crops.json'


def cut_crops(
    images: Dict[str, Dict[str, Path]],
    out,
    *,
    size: int,
    overlap: int,
    whole_up_to: int = 0,
    workers: int = 1,
    **made_of,
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
        **made_of: JSON-able; what else says which images these are, such as the folder that they are from.

    Returns:
        int: Number of names.

    Raises:
        PairError: The folder was made with other settings, or, when all others are done, images that cannot be used.
        OSError: ``out`` cannot be written.
    """
    out = Path(out)
    refuse_unwritable(out)
    _open_record(out, dict(size=size, overlap=overlap, whole_up_to=whole_up_to, **made_of))
    remove_abandoned(out.rglob(f'.*{PART}'))

    def cut(name):
        try:
            crops = _missing_crops(name, images[name], out, size, overlap, whole_up_to)
        except (OSError, ValueError) as error:
            return f'{name}: {error}'
        # A disk that is full is no fault of the image.
        for target, crop in crops.items():
            write_whole(target, cv2.imencode('.png', crop)[1].tobytes())

    work_off(images, cut, workers, done=0, unit='image')
    return len(images)


def crop_starts(length: int, size: int, overlap: int) -> List[int]:
    """Where crops of a side start: ``size - overlap`` apart, and the last one at the end.

    Args:
        length (int): Of the side, in pixels, at least ``size``.
        size (int): Of a crop.
        overlap (int): Less than ``size``.
    """
    return [*range(0, length - size, size - overlap), length - size]


def _missing_crops(name, files, out, size, overlap, whole_up_to) -> Dict[Path, np.ndarray]:
    """The crops of one name that are not there yet."""
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
    crops = {}
    for template, path in files.items():
        missing = {out / template.format(name + suffix): place for suffix, place in places.items()}
        missing = {target: place for target, place in missing.items() if not target.exists()}
        if missing:
            image = _read(path)
            crops.update({target: image[y : y + h, x : x + w] for target, (y, x, h, w) in missing.items()})
    return crops


def _size(path):
    with open_image(path) as image:
        return image.size


def _read(path):
    """(H, W, 3), BGR, uint8, as stored: what EXIF data say of one image of a name may not hold for the others."""
    try:
        return to_eight_bits(read_rgb(path, upright=False))[..., ::-1]
    except PhotographError as error:
        raise PhotographError(f'{path} {error}') from None


def _open_record(out, made_with):
    refuse_other_settings(out / RECORD, made_with)
    write_whole(out / RECORD, json.dumps(made_with) + '\n')

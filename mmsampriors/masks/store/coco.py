"""Masks in COCO's run lengths, as SA-1B's files are: read and written."""

import json
import os
from pathlib import Path
from typing import Dict, Iterable, Tuple

import numpy as np
import torch

from mmsampriors.files import MadeFiles
from mmsampriors.images import PhotographError, open_image

from ..image_masks import ImageMasks
from ..optional_packages import import_extra
from ..run_length_masks import RunMasks
from .cache import MaskStore, MaskStoreError
from .label_maps import MasksByName

EXPORTER = 'cache_masks'  # the tool in whose records exports are

FAULTS = (AttributeError, KeyError, IndexError, MemoryError, OverflowError, TypeError, ValueError)


class CocoRLE(MasksByName):
    """A folder of masks as COCO run lengths, ``NAME.json`` for an image ``NAME.*``; see :class:`MasksByName`.

    A file holds ``annotations``, or is itself the list of them. Each has a ``segmentation`` of ``size`` (H, W) and
    ``counts``, compressed or not. ``predicted_iou`` and ``stability_score`` are taken where they are. Run lengths are
    turned anew at each reading: where training waits for them, a ``MaskCache`` is faster.

    Args:
        folder (str | Path): Holds the files.
    """

    def __init__(self, folder):
        super().__init__(folder, '.json')
        self.coco = import_extra('pycocotools.mask', 'coco', 'COCO run lengths')

    def load(self, image_path) -> RunMasks:
        path, annotations = self.path_of(image_path), self._annotations(image_path)
        if not annotations:
            with open_image(image_path) as image:
                return RunMasks.pack(ImageMasks.empty(image.height, image.width))
        try:
            runs = self._runs(annotations, image_path)
            masks = torch.from_numpy(np.ascontiguousarray(self.coco.decode(runs).transpose(2, 0, 1))).bool()
            measures = _measures(annotations)
        except FAULTS as error:
            raise _no_masks(path, error) from None
        return RunMasks.from_masks(masks, *measures)

    def size_of(self, image_path) -> Tuple[int, int]:
        """(H, W) of an image's masks, each of which is decoded once, and by itself: all of SA-1B's would be gigabytes.

        Raises:
            MaskStoreError: As for :meth:`load`.
        """
        annotations = self._annotations(image_path)
        if not annotations:
            return self.load(image_path).size
        try:
            _measures(annotations)
            for runs in self._runs(annotations, image_path):
                self.coco.decode([runs])
        except FAULTS as error:
            raise _no_masks(self.path_of(image_path), error) from None
        return tuple(annotations[0]['segmentation']['size'])

    def _annotations(self, image_path) -> list:
        path = self.path_of(image_path)
        try:
            if not path.is_file():
                raise FileNotFoundError
            content = json.loads(path.read_text('utf-8-sig'))
        except FileNotFoundError:
            raise MaskStoreError(f'no masks of {image_path}: {path} is absent') from None
        except (ValueError, RecursionError) as error:
            raise MaskStoreError(f'{path} cannot be read as JSON ({error}): replace it') from None
        annotations = content.get('annotations') if isinstance(content, dict) else content
        if not isinstance(annotations, list):
            raise MaskStoreError(f'{path} must hold a list of annotations, or one under the key annotations')
        return annotations

    def _runs(self, annotations, image_path) -> list:
        """The compressed run lengths, once their sizes are known to be right: pycocotools takes the memory that they
        ask for, and dies where there is none."""
        segmentations = [annotation['segmentation'] for annotation in annotations]
        sizes = {tuple(segmentation['size']) for segmentation in segmentations}
        size = sizes.pop()
        if sizes or len(size) != 2 or not all(type(side) is int and 0 < side < 2**15 for side in size):
            raise ValueError(f'found the sizes {sorted({size, *sizes}, key=str)[:3]}')
        image_size = _size_of_image(image_path)
        if image_size and size not in (image_size, image_size[::-1]):  # an orientation in the EXIF data turns it
            raise ValueError(f'its masks are of {size} (H, W) and {image_path} of {image_size}')
        return [self._compressed(segmentation, size) for segmentation in segmentations]

    def _compressed(self, segmentation: dict, size) -> dict:
        counts = given = segmentation['counts']
        if isinstance(given, str):
            counts = uncompressed(given).tolist()
        if not all(type(count) is int and count >= 0 for count in counts) or sum(counts) != size[0] * size[1]:
            raise ValueError(f'counts must be lengths that add up to {size[0]} times {size[1]}')
        if isinstance(given, str):
            return dict(size=list(size), counts=given)
        return self.coco.frPyObjects(dict(size=list(size), counts=counts), *size)


def _measures(annotations) -> list:
    """Predicted IoU and stability score of each annotation, (K,) each; 1 where they are absent."""
    names = ('predicted_iou', 'stability_score')
    measures = [[float(annotation.get(name, 1)) for annotation in annotations] for name in names]
    for name, values in zip(names, measures):
        if not np.isfinite(values).all():
            raise ValueError(f'{name} must be finite')
    return [torch.tensor(values) for values in measures]


def uncompressed(counts: str) -> np.ndarray:
    """The run lengths in a string of COCO's API, as ``rleFrString`` there; pycocotools takes any string for some.

    Args:
        counts (str): Signed groups of five bits, in characters from '0' on.

    Returns:
        np.ndarray: (N,), int64.

    Raises:
        ValueError: It is no such string.
    """
    groups = np.frombuffer(counts.encode(), np.uint8).astype(np.int64) - 48
    last = groups & 32 == 0
    if not len(groups) or groups.min() < 0 or groups.max() > 63 or not last[-1]:
        raise ValueError('counts must be a list of lengths, or a text that COCO has compressed')
    ends = np.flatnonzero(last)
    starts = np.append(0, ends[:-1] + 1)
    place = np.arange(len(groups)) - np.repeat(starts, ends - starts + 1)
    if place.max() > 6:
        raise ValueError('counts has a length of more than 30 bits')
    lengths = np.add.reduceat((groups & 31) << 5 * place, starts)
    lengths -= (groups[ends] & 16 > 0) << 5 * (place[ends] + 1)
    # From the third on, each is the difference to the one before the last.
    for first in (1, 2):
        lengths[first::2] = np.cumsum(lengths[first::2])
    return lengths


def _size_of_image(path):
    """(H, W) as it is stored; None where there is no such file."""
    try:
        with open_image(path) as image:
            return image.height, image.width
    except (OSError, PhotographError):
        return None


def _no_masks(path, error) -> MaskStoreError:
    return MaskStoreError(
        f'{path} must hold annotations whose segmentation has size [H, W] and counts, all of one size, the size of '
        f'the image, as in SA-1B ({type(error).__name__}: {error})'
    )


def export_coco(store: MaskStore, image_paths: Iterable, folder, root=None) -> int:
    """Writes stored masks in the form of SA-1B's files, ``NAME.json`` for an image ``NAME.*``; returns their number.

    Args:
        store (MaskStore): Holds the masks.
        image_paths (Iterable): Image files.
        folder (str | Path): Where files go; made where it is absent.
        root (str | Path, optional): Holds the images; the folders below it are kept. Defaults to None: the innermost
            folder that holds them all.

    Raises:
        FileExistsError: A file is there that no export wrote, or that was changed since.
        MaskStoreError: Masks of an image are missing.
        ValueError: Two images have one name.
    """
    names, made = coco_names(image_paths, root), MadeFiles(folder, EXPORTER)
    made.refuse_others(names)
    for name, image_path in names.items():
        made.write(name, coco_text(store.load(image_path), image_path.name))
    return len(names)


def coco_text(masks: ImageMasks, file_name: str) -> str:
    """The content of a file as SA-1B has them, in JSON; what says which prompt gave a mask is left out.

    Args:
        masks (ImageMasks): Of the whole image, on the host.
        file_name (str): The image's name.
    """
    height, width = masks.size
    annotations = [
        dict(
            id=index,
            segmentation=dict(size=[height, width], counts=_counts_of(mask, int(x0), int(x1) + 1)),
            area=area,
            bbox=[x0, y0, x1 - x0 + 1, y1 - y0 + 1],
            predicted_iou=score,
            stability_score=stability,
        )
        for index, (mask, (x0, y0, x1, y1), area, score, stability) in enumerate(
            zip(
                masks.bitmaps.numpy(),
                *(part.tolist() for part in (masks.boxes, masks.areas, masks.scores, masks.stability)),
            )
        )
    ]
    return json.dumps(dict(image=dict(file_name=file_name, height=height, width=width), annotations=annotations))


def _counts_of(mask: np.ndarray, left: int, right: int) -> str:
    """COCO's compressed run lengths of a mask, (H, W), bool, that has pixels in columns ``left`` to ``right`` alone."""
    pixels = np.pad(mask[:, left:right].T.ravel(), 1).view(np.int8)
    edges = np.flatnonzero(pixels[1:] != pixels[:-1]) + left * len(mask)
    counts = np.diff(edges, prepend=0, append=mask.size)
    return _compress(counts if counts[-1] else counts[:-1])


def _compress(counts: np.ndarray) -> str:
    """As ``rleToString`` of COCO's API: differences to the count before the last, in signed groups of five bits."""
    rest = counts.astype(np.int64)
    rest[3:] -= counts[1:-2]
    groups, used, more = [], [], np.ones(len(rest), bool)
    while more.any():
        group, rest = rest & 31, rest >> 5
        used.append(more)
        more = more & (rest != np.where(group & 16, -1, 0))
        groups.append((group | more << 5) + 48)
    return np.stack(groups, 1)[np.stack(used, 1)].astype(np.uint8).tobytes().decode('ascii')


def coco_names(image_paths: Iterable, root=None) -> Dict[str, Path]:
    """The files of an export, below its folder, and the images whose masks they hold; see :func:`export_coco`.

    Raises:
        ValueError: Two images have one name.
    """
    names, paths = {}, list(map(os.path.abspath, image_paths))
    root = root or folder_of_all(paths)
    for image_path in map(Path, paths):
        name = f'{image_path.with_suffix("").relative_to(root)}.json'
        if (other := names.setdefault(name, image_path)) != image_path:
            raise ValueError(
                f'the masks of {image_path} and {other} would both be written to {name}: export folders whose images '
                'have names of their own'
            )
    return names


def folder_of_all(paths: Iterable) -> str:
    """The innermost folder that holds all of the files."""
    return os.path.commonpath({os.path.dirname(os.path.abspath(path)) for path in paths})

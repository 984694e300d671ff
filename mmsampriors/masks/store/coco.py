"""Masks as COCO run lengths, one JSON file an image: SA-1B's files, and those of segment_anything's ``amg.py``."""

import json
from pathlib import Path
from typing import Iterable

import numpy as np
import torch
from PIL import Image

from mmsampriors.files import write_whole
from mmsampriors.masks.image_masks import ImageMasks
from mmsampriors.masks.optional_packages import import_extra
from mmsampriors.masks.run_length_masks import RunMasks

from .cache import MaskStore, MaskStoreError


class CocoRLE(MaskStore):
    """A folder of masks as COCO run lengths, ``NAME.json`` for an image ``NAME.*``.

    A file holds ``annotations``, or is itself the list of them. Each has a ``segmentation`` of ``size`` (H, W) and
    ``counts``, compressed or not. ``predicted_iou`` and ``stability_score`` are taken where they are. Run lengths are
    turned anew at each reading: where training waits for them, a ``MaskCache`` is faster.

    Args:
        folder (str | Path): Holds the files.
    """

    def __init__(self, folder):
        self.folder, self.coco = Path(folder), _coco()

    def load(self, image_path) -> RunMasks:
        path = self.folder / f'{Path(image_path).stem}.json'
        try:
            content = json.loads(path.read_text())
        except FileNotFoundError:
            raise MaskStoreError(f'no masks of {image_path}: {path} is absent') from None
        except ValueError as error:
            raise MaskStoreError(f'{path} cannot be read as JSON ({error}): replace it') from None
        annotations = content.get('annotations') if isinstance(content, dict) else content
        if not isinstance(annotations, list):
            raise MaskStoreError(f'{path} must hold a list of annotations, or one under the key annotations')
        if not annotations:
            with Image.open(image_path) as image:
                return RunMasks.pack(ImageMasks.empty(image.height, image.width))
        try:
            runs = [self._compressed(annotation['segmentation']) for annotation in annotations]
            masks = torch.from_numpy(np.ascontiguousarray(self.coco.decode(runs).transpose(2, 0, 1))).bool()
        except (KeyError, TypeError, ValueError) as error:
            raise MaskStoreError(
                f'{path} must hold annotations whose segmentation has size [H, W] and counts, all of one size, as in '
                f'SA-1B ({type(error).__name__}: {error})'
            ) from None
        measures = (
            torch.tensor([float(annotation.get(name, 1)) for annotation in annotations])
            for name in ('predicted_iou', 'stability_score')
        )
        return RunMasks.from_masks(masks, *measures)

    def _compressed(self, segmentation: dict) -> dict:
        size, counts = segmentation['size'], segmentation['counts']
        return self.coco.frPyObjects(segmentation, *size) if isinstance(counts, list) else segmentation


def export_coco(store: MaskStore, image_paths: Iterable, folder) -> int:
    """Writes stored masks in the form of SA-1B's files, ``NAME.json`` for an image ``NAME.*``; returns their number.

    Args:
        store (MaskStore): Holds the masks.
        image_paths (Iterable): Image files.
        folder (str | Path): Where files go; made where it is absent.

    Raises:
        MaskStoreError: Masks of an image are missing.
        ValueError: Two images have one name.
    """
    coco, written = _coco(), {}
    for image_path in image_paths:
        image_path = Path(image_path)
        if (other := written.setdefault(image_path.stem, image_path)) != image_path:
            raise ValueError(
                f'{image_path} and {other} would both be written to {image_path.stem}.json in {folder}: export folders '
                'whose images have names of their own'
            )
        masks = store.load(image_path)
        columns = np.asfortranarray(masks.bitmaps.numpy().transpose(1, 2, 0).astype(np.uint8))
        boxes, height, width = masks.boxes.tolist(), *masks.size
        annotations = [
            dict(
                id=index,
                segmentation={**runs, 'counts': runs['counts'].decode()},
                area=int(masks.areas[index]),
                bbox=[x0, y0, x1 - x0 + 1, y1 - y0 + 1],
                predicted_iou=float(masks.scores[index]),
                stability_score=float(masks.stability[index]),
            )
            for index, (runs, (x0, y0, x1, y1)) in enumerate(zip(coco.encode(columns), boxes))
        ]
        image = dict(file_name=image_path.name, height=height, width=width)
        write_whole(Path(folder) / f'{image_path.stem}.json', json.dumps(dict(image=image, annotations=annotations)))
    return len(written)


def _coco():
    return import_extra('pycocotools.mask', 'coco', 'COCO run lengths')

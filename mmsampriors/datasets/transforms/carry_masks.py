"""Moves masks as upstream's transforms move images, by watching what they did."""

import numpy as np
from mmagic.datasets.transforms import Crop, FixedCrop, Flip, PairedRandomCrop, RandomTransposeHW
from mmcv.transforms import BaseTransform

from mmsampriors.registry import TRANSFORMS

from .pad_to_patch import PadToPatch, mirror_to


@TRANSFORMS.register_module()
class CarryMasks(BaseTransform):
    """Runs a geometric transform and does to ``masks`` what it did to ``gt``.

    The transform draws its random numbers itself, so that images come out the same with and without masks. Required
    keys: ``masks``, ``gt`` and those of ``transform``. Modified keys: ``masks`` and those of ``transform``.

    Args:
        transform (dict | callable): A Flip, RandomTransposeHW, PairedRandomCrop, Crop, FixedCrop, PadToPatch, or a
            subclass of one.

    Raises:
        TypeError: It is another one.
    """

    def __init__(self, transform):
        self.wrapped = TRANSFORMS.build(transform) if isinstance(transform, dict) else transform
        if not can_carry(type(self.wrapped)):
            raise TypeError(
                f'masks can follow {", ".join(kind.__name__ for kind in CARRIERS)}, found {type(self.wrapped).__name__}'
            )
        self.carry = next(carry for kind, carry in CARRIERS.items() if isinstance(self.wrapped, kind))

    @property
    def keys(self) -> set:
        """Keys of the images that the transform moves."""
        paired = isinstance(self.wrapped, PairedRandomCrop)
        return {self.wrapped.lq_key, self.wrapped.gt_key} if paired else set(self.wrapped.keys)

    def transform(self, results: dict) -> dict:
        return self.carry(self.wrapped, results)

    def __repr__(self):
        return f'{type(self).__name__}({self.wrapped})'


def can_carry(kind: type) -> bool:
    """Whether masks can follow a transform of this class."""
    return issubclass(kind, tuple(CARRIERS))


def _flip(flip, results):
    results = flip(results)
    done = results['flip_infos'][-1]
    if done['flip']:
        results['masks'] = results['masks'].flip(done['direction'])
    return results


def _transpose(transpose, results):
    results = transpose(results)
    if results['transpose']:
        results['masks'] = results['masks'].transpose()
    return results


def _paired_crop(crop, results):
    """The crop does not say where it cut, but cuts all of a list alike: row and column numbers tell the place."""
    gt = results[crop.gt_key]
    height, width = gt.shape[:2]
    rows = np.ndarray((height, width, 1), np.int64, np.arange(height), strides=(8, 0, 0))
    columns = np.ndarray((height, width, 1), np.int64, np.arange(width), strides=(0, 8, 0))
    results[crop.gt_key] = [gt, rows, columns]
    results = crop(results)
    results[crop.gt_key], rows, columns = results[crop.gt_key]
    results['masks'] = results['masks'].crop(int(rows[0, 0, 0]), int(columns[0, 0, 0]), *rows.shape[:2])
    return results


def _crop(crop, results):
    if getattr(crop, 'is_pad_zeros', False):
        raise ValueError(f'masks cannot follow {type(crop).__name__} with is_pad_zeros=True')
    results = crop(results)
    boxes = {tuple(results[f'{key}_crop_bbox']) for key in crop.keys}
    if len(boxes) > 1:
        raise ValueError(
            f'{type(crop).__name__} cut {crop.keys} at different places {sorted(boxes)}; PairedRandomCrop '
            'cuts them alike'
        )
    left, top, width, height = boxes.pop()
    results['masks'] = results['masks'].crop(top, left, height, width)
    return results


def _pad(pad, results):
    before = results['gt'].shape[:2]
    results = pad(results)
    after = results['gt'].shape[:2]
    if after != before:
        rows, columns = (mirror_to(np.indices(before)[axis], max(after)) for axis in (0, 1))
        results['masks'] = results['masks'].take(rows[: after[0], 0], columns[0, : after[1]])
    return results


CARRIERS = {
    Flip: _flip,
    RandomTransposeHW: _transpose,
    PairedRandomCrop: _paired_crop,
    Crop: _crop,
    FixedCrop: _crop,
    PadToPatch: _pad,
}

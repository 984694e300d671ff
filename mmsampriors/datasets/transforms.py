"""Transforms of a training pipeline: masks follow the crops and flips of their image."""

from typing import Optional

import numpy as np
from mmagic.datasets.transforms import Crop, FixedCrop, Flip, PairedRandomCrop, RandomTransposeHW
from mmcv.transforms import BaseTransform

from mmsampriors.masks import ImageMasks, RunMasks, build_store
from mmsampriors.registry import TRANSFORMS

from .deterministic_loader import patch_size_of


@TRANSFORMS.register_module()
class PadToPatch(BaseTransform):
    """Extends images that are smaller than the patch of ProgressiveBatchSampler, by mirroring at the right and bottom.

    Restormer was trained so: some images of Rain13K are smaller than its largest patch. Images that are large enough
    stay as they are. For images of the same size only (``scale`` 1). Required keys: ``sample_idx`` (a SampleIndex),
    ``keys`` and their ``_path``. Modified keys: ``keys``.

    Args:
        keys (tuple[str]): Images to extend alike, (H, W, C) each. Default: ('img', 'gt').

    Raises:
        ValueError: The images differ in size; extending them would hide it.
    """

    def __init__(self, keys: tuple[str, ...] = ('img', 'gt')):
        self.keys = keys

    def transform(self, results: dict) -> dict:
        patch_size = patch_size_of(results)
        sizes = {results[f'{key}_path']: results[key].shape[:2] for key in self.keys}
        if len(set(sizes.values())) > 1:
            raise ValueError(
                'the images of a pair must have the same height and width; found '
                + ', '.join(f'{path}: {height}x{width}' for path, (height, width) in sizes.items())
            )
        for key in self.keys:
            results[key] = mirror_to(results[key], patch_size)
        return results

    def __repr__(self):
        return f'{type(self).__name__}(keys={self.keys})'


def mirror_to(image: np.ndarray, size: int) -> np.ndarray:
    """Mirrors (H, W, ...) at its right and bottom edge until both sides are at least ``size``."""
    height, width = image.shape[:2]
    if min(height, width) >= size:
        return image
    margins = [(0, max(0, size - height)), (0, max(0, size - width))] + [(0, 0)] * (image.ndim - 2)
    return np.pad(image, margins, mode='symmetric')


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
        ValueError: It is a Crop that pads.
    """

    def __init__(self, transform):
        self.wrapped = TRANSFORMS.build(transform) if isinstance(transform, dict) else transform
        if not can_carry(type(self.wrapped)):
            raise TypeError(
                f'masks can follow {", ".join(kind.__name__ for kind in CARRIERS)}, found {type(self.wrapped).__name__}'
            )
        if getattr(self.wrapped, 'is_pad_zeros', False):
            raise ValueError(
                f'masks cannot follow {type(self.wrapped).__name__} with is_pad_zeros=True: leave that out'
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
    """The crop does not say where it cut, but cuts all of a list alike: row and column numbers give the place."""
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


@TRANSFORMS.register_module()
class LoadMasks(BaseTransform):
    """Loads the stored masks of an image.

    Goes right after the ground truth is loaded, whose size the masks must have. Required keys: ``gt`` (H, W, C) and
    ``{key}_path``. Added key: ``masks``, a RunMasks.

    Args:
        store (dict, optional): Config of a mask store, see :func:`mmsampriors.masks.build_store`; None for the empty
            set of masks.
        key (str): The image that the masks were computed from, 'gt' or 'img'. Default: 'gt'.

    Raises:
        MaskStoreError: There are no masks of the image, or not the right ones.
        ValueError: The masks and the ground truth differ in size.
    """

    def __init__(self, store: Optional[dict], key: str = 'gt'):
        self.store, self.key = build_store(store) if store else None, key

    def transform(self, results: dict) -> dict:
        if self.store is None:
            results['masks'] = RunMasks.pack(ImageMasks.empty(*results['gt'].shape[:2]))
            return results
        path = results[f'{self.key}_path']
        if isinstance(path, (list, tuple)):
            raise ValueError(f'stored masks are for single images; {self.key}_path holds {len(path)} frames')
        masks = self.store.load(path)
        if masks.size != results['gt'].shape[:2]:
            raise ValueError(
                f'the masks of {path} are of {masks.size}, its ground truth has '
                f'{results["gt"].shape[:2]} pixels; masks must have the size of the ground truth'
            )
        results['masks'] = masks
        return results

    def __repr__(self):
        return f'{type(self).__name__}(store={type(self.store).__name__}, key={self.key!r})'


@TRANSFORMS.register_module()
class PackMasks(BaseTransform):
    """Packs a sample with its masks: ``data_samples.masks`` is one ImageMasks, stacked to a list of N.

    Required keys: ``masks``, ``gt`` and those of ``pack``.

    Args:
        pack (dict | callable): The transform that packs all but the masks, such as PackInputs.

    Raises:
        ValueError: A transform changed the size of the ground truth and left the masks behind.
    """

    def __init__(self, pack):
        self.pack = TRANSFORMS.build(pack) if isinstance(pack, dict) else pack

    def transform(self, results: dict) -> dict:
        masks = results.pop('masks')
        if masks.size != results['gt'].shape[:2]:
            raise ValueError(
                f'at the end of the pipeline the masks of {results.get("gt_path")} are of {masks.size}, '
                f'the ground truth has {results["gt"].shape[:2]} pixels: a transform moved one without '
                'the other'
            )
        packed = self.pack(results)
        packed['data_samples'].set_field(masks.cut() if isinstance(masks, RunMasks) else masks, 'masks')
        return packed

    def __repr__(self):
        return f'{type(self).__name__}({self.pack})'


@TRANSFORMS.register_module()
class ProgressivePairedRandomCrop(PairedRandomCrop):
    """PairedRandomCrop with the patch size that ProgressiveBatchSampler chose for the batch.

    Required keys: ``sample_idx`` (a SampleIndex), ``scale``, ``lq_key`` and its ``_path``, ``gt_key`` and its
    ``_path``. Modified keys: ``lq_key`` and ``gt_key``.

    Args:
        lq_key (str): Key of the degraded image. Default: 'img'.
        gt_key (str): Key of the ground truth. Default: 'gt'.

    Raises:
        ValueError: The image is smaller than the patch, or the pair does not match in size.
    """

    def __init__(self, lq_key: str = 'img', gt_key: str = 'gt'):
        super().__init__(gt_patch_size=None, lq_key=lq_key, gt_key=gt_key)

    def transform(self, results: dict) -> dict:
        self.gt_patch_size = patch_size_of(results)
        try:
            return super().transform(results)
        except ValueError as error:
            raise ValueError(
                f'{error} (pair of {results[f"{self.lq_key}_path"]} and '
                f'{results[f"{self.gt_key}_path"]}, patch size {self.gt_patch_size}; PadToPatch in the '
                'pipeline before this crop extends images that are smaller)'
            ) from error

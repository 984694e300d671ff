"""Makes images large enough for the patch that is about to be cut out of them."""

import numpy as np
from mmcv.transforms import BaseTransform

from mmsampriors.datasets.samplers.progressive import patch_size_of
from mmsampriors.registry import TRANSFORMS


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

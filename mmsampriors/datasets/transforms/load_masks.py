"""Stored masks enter and leave a pipeline."""

from typing import Optional

from mmcv.transforms import BaseTransform

from mmsampriors.masks import ImageMasks, RunMasks, build_store
from mmsampriors.registry import TRANSFORMS


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

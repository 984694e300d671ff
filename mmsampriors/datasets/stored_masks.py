"""Built datasets whose masks are stored: filling the store, and carrying the masks."""

from collections.abc import Sequence
from typing import Callable

from mmengine.config import Config

from mmsampriors.masks import Filled, MaskCache, build_store, fill_cache
from mmsampriors.registry import MODELS, TRANSFORMS, build_part

from .mask_pipeline import with_spd_masks


def stored_source_of(cfg: Config):
    """The mask source of a config, which must be a stored one.

    Raises:
        ValueError: The config has no model.spd, or its source stores nothing.
    """
    if not cfg.model.get('spd'):
        raise ValueError(
            f'{cfg.filename} has no model.spd: inherit mmsampriors::_base_/spd.py and write '
            "model = dict(type='mmsampriors.SPDModel', spd=_base_.spd)"
        )
    source = build_part(MODELS, cfg.model.spd['masks'])
    if not source.stored:
        raise ValueError(
            f'model.spd.masks is {type(source).__name__}, which stores nothing: expected a stored source, '
            "masks=dict(type='CachedMasks', segmenter=dict(type=...), cache_dir=...)"
        )
    return source


def datasets_with_pipeline(dataset) -> list:
    """The datasets that have a pipeline, below any wrappers (ConcatDataset, RepeatDataset, ...)."""
    if hasattr(dataset, 'datasets'):
        return [leaf for part in dataset.datasets for leaf in datasets_with_pipeline(part)]
    if hasattr(dataset, 'pipeline'):
        return [dataset]
    if hasattr(dataset, 'dataset'):
        return datasets_with_pipeline(dataset.dataset)
    raise TypeError(f'{type(dataset).__name__} has no pipeline that could carry masks')


def carry_masks(dataset, source, neutral: tuple = ()) -> None:
    """Makes the pipelines of a built dataset carry masks, in place; see :func:`with_spd_masks`.

    Args:
        dataset (Dataset): Built, maybe wrapped.
        source (MaskSource): A stored one.
        neutral (tuple[str]): Names of further transforms that keep every pixel in its place.
    """
    for leaf in datasets_with_pipeline(dataset):
        store = source.store(leaf.data_root)
        steps = with_spd_masks(leaf.pipeline.transforms, store, source.source, neutral)
        leaf.pipeline.transforms = [TRANSFORMS.build(step) if isinstance(step, dict) else step for step in steps]


def fill_masks(dataset, source, restore: Callable = None, **options) -> Filled:
    """Computes the masks of a built dataset that are missing. A folder of label maps is left as it is.

    Args:
        dataset (Dataset): Built, maybe wrapped.
        source (MaskSource): A stored one, with ``store``, ``source`` and, for a cache, ``segmenter``.
        restore (Callable, optional): Maps images (N, 3, H, W), RGB in [0, 1], to restored ones, for source 'restored'.
        **options: ``shard``, ``batch_size`` and ``device`` of :func:`mmsampriors.masks.fill_cache`.
    """
    ready = computed = 0
    key = 'gt_path' if source.source == 'gt' else 'img_path'
    for leaf in datasets_with_pipeline(dataset):
        store = build_store(source.store(leaf.data_root))
        if isinstance(store, MaskCache):
            filled = fill_cache(store, ImagePaths(leaf, key), source.segmenter.segment, restore, **options)
            ready, computed = ready + filled.ready, computed + filled.computed
    return Filled(ready, computed)


class ImagePaths(Sequence):
    """The image files of a dataset, read from it one at a time.

    Args:
        dataset (BaseDataset): Built.
        key (str): 'gt_path' or 'img_path'.
    """

    def __init__(self, dataset, key: str):
        self.dataset, self.key = dataset, key

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> str:
        return self.dataset.get_data_info(index)[self.key]

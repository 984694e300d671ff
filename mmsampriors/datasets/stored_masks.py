"""Built datasets whose masks are stored: filling the store, and carrying the masks."""

from collections.abc import Iterable, Sequence
from typing import Callable, Optional

from mmengine.config import Config
from mmengine.logging import print_log

from mmsampriors.files import MadeFiles
from mmsampriors.masks import (
    Filled,
    MaskCache,
    MasksByName,
    build_store,
    export_coco,
    fill_cache,
    folder_of_all,
    manifest_misfit,
    write_manifest,
)
from mmsampriors.masks.store.coco import EXPORTER, coco_names
from mmsampriors.registry import MODELS, TRANSFORMS, build_part

from .mask_pipeline import with_spd_masks

#: Images up to which every entry is read at a start: that takes two seconds on a local disk.
READ_WHOLE = 100_000


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

    Raises:
        MaskStoreError: Two images would share a file of masks.
    """
    leaves = datasets_with_pipeline(dataset)
    paths = (path for leaf in leaves for path in ImagePaths(leaf, source.image_key))
    refuse_shared_files(build_store(source.store(leaves[0].data_root)), paths)
    for leaf in leaves:
        store = source.store(leaf.data_root)
        steps = with_spd_masks(leaf.pipeline.transforms, store, source.source, neutral)
        leaf.pipeline.transforms = [TRANSFORMS.build(step) if isinstance(step, dict) else step for step in steps]


def refuse_shared_files(store, image_paths: Iterable) -> None:
    """Looks for the masks of all images, as training does later one by one.

    Args:
        store (MaskStore, optional): Where they are.
        image_paths (Iterable): Image files.

    Raises:
        MaskStoreError: Two images would share a file of masks.
    """
    if isinstance(store, MasksByName):
        for path in image_paths:
            store.path_of(path)


def fill_masks(
    dataset,
    source,
    restore: Callable = None,
    *,
    validation: tuple = (None, 0),
    by_manifest: bool = False,
    shard: tuple = (0, 1),
    **options,
) -> Filled:
    """Computes the masks of a built dataset that are missing; then the segmenter leaves the device.

    A folder of masks that were there already is left as it is.

    Args:
        dataset (Dataset): Built, maybe wrapped.
        source (MaskSource): A stored one, with ``store``, ``source`` and, for a cache, ``segmenter``.
        restore (Callable, optional): Maps images (N, 3, H, W), RGB in [0, 1], to restored ones, for source 'restored'.
        validation (tuple): A built dataset of validation, and of how many of its first images masks are stored too.
        by_manifest (bool): Whether no entry is read of a cache of more than :data:`READ_WHOLE` images whose manifest
            fits. The masks of each sample are checked when they are read.
        shard (tuple): As for :func:`mmsampriors.masks.fill_cache`.
        **options: ``worker``, ``batch_size`` and ``device`` of :func:`mmsampriors.masks.fill_cache`.

    Returns:
        Filled: Counts of the images of ``dataset`` alone.
    """
    ready = computed = 0
    for leaf in datasets_with_pipeline(dataset):
        store = build_store(source.store(leaf.data_root))
        if isinstance(store, MaskCache):
            paths = ImagePaths(leaf, source.image_key)
            filled = _stored(store, paths) if by_manifest else None
            if filled is None:
                filled = fill_cache(store, paths, source.segmenter.segment, restore, shard=shard, **options)
                write_manifest(store, paths, shard)
            ready, computed = ready + filled.ready, computed + filled.computed
    if source.segmenter is not None:
        _fill_validation(source, *validation, restore, dict(options, shard=shard))
    source.release()
    return Filled(ready, computed)


def _stored(store: MaskCache, paths: Sequence) -> Optional[Filled]:
    """What filling the store would return, where its manifest says that it is full; else None."""
    if len(paths) <= READ_WHOLE:
        return None
    reason = manifest_misfit(store, paths)
    if reason is None:
        return Filled(len(paths), 0)
    print_log(f'stored masks: every entry of {store.cache_dir} is read, for {reason}', 'current')
    return None


def _fill_validation(source, dataset, count: int, restore: Callable, options: dict) -> None:
    """Stores the masks of the first ``count`` images, and notes where they are."""
    for leaf in datasets_with_pipeline(dataset) if count else ():
        paths = ImagePaths(leaf, source.image_key)
        paths = [paths[index] for index in range(min(len(paths), count))]
        count -= len(paths)
        store = build_store(source.store_of_validation(leaf.data_root))
        fill_cache(store, paths, source.segmenter.segment, restore, **options)
        source.kept_for_validation.update(dict.fromkeys(paths, store))


def check_export(dataset, source, folder):
    """Looks, before masks are computed, whether :func:`export_masks` can write them all.

    Raises:
        FileExistsError: A file is there that no export wrote.
        ValueError: Two images have one name.
    """
    images, root = _images_of(dataset, source)
    MadeFiles(folder, EXPORTER).refuse_others(coco_names((path for _, paths in images for path in paths), root))


def export_masks(dataset, source, folder) -> int:
    """Writes the stored masks of a built dataset as COCO run lengths, and returns the number of files.

    Args:
        dataset (Dataset): Built, maybe wrapped.
        source (MaskSource): A stored one, whose masks are there.
        folder (str): Where the files go; see :func:`mmsampriors.masks.export_coco`.
    """
    images, root = _images_of(dataset, source)
    return sum(export_coco(build_store(source.store(data_root)), paths, folder, root) for data_root, paths in images)


def _images_of(dataset, source):
    """The image files by the root of their data, and the folder of all."""
    images = [(leaf.data_root, ImagePaths(leaf, source.image_key)) for leaf in datasets_with_pipeline(dataset)]
    return images, folder_of_all(path for _, paths in images for path in paths)


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
        info = self.dataset.get_data_info(index)
        if self.key not in info:
            name = self.key.removesuffix('_path')
            raise ValueError(
                f'masks are those of {self.key}, and the data set of {self.dataset.data_root} names none: set '
                f'data_prefix.{name}, to the folder of the other images if the pipeline copies them'
            )
        return info[self.key]

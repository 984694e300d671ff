"""Photographs without ground truth beside the pairs of a training [ours]."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from mmagic.datasets.transforms import LoadImageFromFile
from mmcv.transforms import BaseTransform, Compose
from torch.utils.data import Dataset

from mmsampriors.images import TRAINING_SUFFIXES, images_in
from mmsampriors.masks import build_store
from mmsampriors.registry import TRANSFORMS

from .mask_pipeline import DEGRADES_AT_RANDOM, with_spd_masks
from .stored_masks import datasets_with_pipeline, refuse_shared_files


class UnlabeledPhotographs(Dataset):
    """Degraded photographs, through the train pipeline of the pairs beside which they train.

    Each photograph stands in for its own ground truth, so that every transform treats it as it treats a pair: crops,
    flips, order of the channels, growing patches. No loss may look at that ``gt``; :class:`WithUnlabeled` marks it.
    Transforms of mmagic that degrade at random are left out: the photographs are degraded already.

    Args:
        files (Sequence[str]): The photographs.
        pairs (Dataset): Built, maybe wrapped; the pipeline of its first dataset is taken, before it carries masks.
        degrades (Iterable[str]): Names of further transforms that degrade, and are left out.
        scale (int): How many times larger than the photograph what stands in for its ground truth is.
    """

    #: Masks are kept by absolute paths: the photographs may lie in several folders.
    data_root = None

    def __init__(self, files: Sequence, pairs: Dataset, degrades: Iterable = (), scale: int = 1):
        first = datasets_with_pipeline(pairs)[0]
        self.files = list(map(str, files))
        # The keys of a pair, so that both have the same metainfo and can be stacked.
        self.template = first.get_data_info(0)
        left_out = {*DEGRADES_AT_RANDOM, *degrades}
        steps = [step for step in first.pipeline.transforms if type(step).__name__ not in left_out]
        self.pipeline = Compose([_without_target(step, scale) if scale > 1 else step for step in steps])

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int):
        info = self.get_data_info(index)
        # No path that a pair has not: both must have the same metainfo.
        absent = {'img_path', 'gt_path'} - self.template.keys()
        return self.pipeline({key: value for key, value in info.items() if key not in absent})

    def get_data_info(self, index: int) -> dict:
        """What is known of a photograph before it is read, as of mmengine's datasets."""
        file = self.files[index]
        paths = dict(img_path=file, gt_path=file)
        return {**self.template, **paths, 'key': Path(file).stem, 'sample_idx': index}

    def carry_masks(self, store, neutral: tuple = ()):
        """Makes the pipeline carry masks, in place; see :func:`.mask_pipeline.with_spd_masks`.

        Args:
            store (dict, optional): Config of the mask store; None for the empty set of masks.
            neutral (tuple[str]): Names of further transforms that keep every pixel in its place.
        """
        refuse_shared_files(store and build_store(store), self.files)
        # 'gt' is the photograph itself, loaded from its file whatever the pairs do.
        steps = with_spd_masks(self.pipeline.transforms, store, 'gt', neutral)
        self.pipeline = Compose([TRANSFORMS.build(step) if isinstance(step, dict) else step for step in steps])


def _without_target(step, scale: int):
    """A step of a pipeline, which puts a black image of ``scale`` times the size where it loads the ground truth."""
    return LoadBlackTarget(step, scale) if isinstance(step, LoadImageFromFile) and step.key == 'gt' else step


class LoadBlackTarget(BaseTransform):
    """Stands in for a ground truth that is larger than the photograph; no loss looks at it.

    Added keys: those of ``load``.

    Args:
        load (LoadImageFromFile): Loads the photograph as ``gt``.
        scale (int): How many times larger the image in its place is.
    """

    def __init__(self, load: LoadImageFromFile, scale: int):
        self.load, self.scale, self.key = load, scale, load.key

    def transform(self, results: dict) -> dict:
        results = self.load(results)
        height, width, *channels = results[self.key].shape
        # Takes no memory before it is written to: crops cut their patch out first.
        results[self.key] = np.zeros((self.scale * height, self.scale * width, *channels), results[self.key].dtype)
        return results

    def __repr__(self):
        return f'{type(self).__name__}({self.load}, scale={self.scale})'


class WithUnlabeled(Dataset):
    """Pairs, and behind them photographs without ground truth; ``labelled`` in the metainfo distinguishes them.

    Its length is that of the pairs, which is what samplers deal out.

    Args:
        dataset (Dataset): The pairs, of index 0 on.
        unlabeled (Dataset): Of index ``len(dataset)`` on.
    """

    def __init__(self, dataset: Dataset, unlabeled: Dataset):
        self.dataset, self.unlabeled = dataset, unlabeled

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int):
        labelled = index < len(self.dataset)
        sample = self.dataset[index] if labelled else self.unlabeled[index - len(self.dataset)]
        sample['data_samples'].set_metainfo(dict(labelled=labelled))
        return sample


def photographs_in(folders: Iterable) -> list:
    """The photographs below folders, sorted within each.

    Raises:
        ValueError: A folder is absent or has none.
    """
    found = []
    for folder in map(Path, folders):
        files = images_in(folder, TRAINING_SUFFIXES)
        if not files:
            raise ValueError(
                f'expected photographs without ground truth in {folder}, found '
                f'{"none" if folder.is_dir() else "no such folder"}: set folders of UnlabeledHook'
            )
        found += files
    return found

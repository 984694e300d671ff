"""Photographs without ground truth that ride in the batches of a training on pairs [ours]."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from mmcv.transforms import Compose
from torch.utils.data import Dataset

from mmsampriors.data_preparation.pairs import IMAGE_SUFFIXES
from mmsampriors.registry import TRANSFORMS

from .mask_pipeline import DEGRADES_AT_RANDOM, with_spd_masks
from .stored_masks import datasets_with_pipeline


class UnlabeledPhotographs(Dataset):
    """Degraded photographs, through the train pipeline of the pairs beside which they train.

    Each photograph stands in for its own ground truth, so that every transform treats it as it treats a pair: crops,
    flips, order of the channels, growing patches. No loss may look at that ``gt``; :class:`WithUnlabeled` marks it.
    Transforms of mmagic that degrade at random are left out: the photographs are degraded already.

    Args:
        files (Sequence[str]): The photographs.
        pairs (Dataset): Built, maybe wrapped; the pipeline of its first dataset is taken, before it carries masks.
        degrades (Iterable[str]): Names of further transforms that degrade, and are left out.
    """

    def __init__(self, files: Sequence, pairs: Dataset, degrades: Iterable = ()):
        first = datasets_with_pipeline(pairs)[0]
        self.files = list(map(str, files))
        # The keys of a pair, so that both have the same metainfo and can be stacked.
        self.template = first.get_data_info(0)
        left_out = {*DEGRADES_AT_RANDOM, *degrades}
        self.pipeline = Compose([step for step in first.pipeline.transforms if type(step).__name__ not in left_out])

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int):
        file = self.files[index]
        paths = {key: file for key in ('img_path', 'gt_path') if key in self.template}
        return self.pipeline({**self.template, **paths, 'key': Path(file).stem, 'sample_idx': index})

    def carry_masks(self, store, neutral: tuple = ()):
        """Makes the pipeline carry masks, in place; see :func:`.mask_pipeline.with_spd_masks`.

        Args:
            store (dict, optional): Config of the mask store; None for the empty set of masks.
            neutral (tuple[str]): Names of further transforms that keep every pixel in its place.
        """
        # 'gt' is the photograph itself, loaded from its file whatever the pairs do.
        steps = with_spd_masks(self.pipeline.transforms, store, 'gt', neutral)
        self.pipeline = Compose([TRANSFORMS.build(step) if isinstance(step, dict) else step for step in steps])


class WithUnlabeled(Dataset):
    """Pairs, and behind them photographs without ground truth; ``labelled`` in the metainfo tells them apart.

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
        files = sorted(path for path in folder.rglob('*') if path.suffix.lower() in IMAGE_SUFFIXES)
        if not files:
            raise ValueError(
                f'expected photographs without ground truth in {folder}, found '
                f'{"none" if folder.is_dir() else "no such folder"}: set folders of UnlabeledHook'
            )
        found += files
    return found

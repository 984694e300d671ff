"""Patches that grow and batches that shrink while the training goes on."""

import bisect
import itertools

import torch

from mmsampriors.registry import DATA_SAMPLERS


class SampleIndex(int):
    """Index of a sample that also says how large a patch to take of it.

    mmengine's datasets hand it on as ``results['sample_idx']``; wrappers that shift an index (ConcatDataset,
    RepeatDataset) keep it, and it travels to worker processes.

    Args:
        index (int): Index into the dataset.
        patch_size (int): Side of the ground truth's patch, in pixels.
    """

    def __new__(cls, index: int, patch_size: int):
        self = super().__new__(cls, index)
        self.patch_size = patch_size
        return self

    def __getnewargs__(self):
        return int(self), self.patch_size

    def __sub__(self, other):
        return SampleIndex(int(self) - other, self.patch_size)

    def __mod__(self, other):
        return SampleIndex(int(self) % other, self.patch_size)


def patch_size_of(results: dict) -> int:
    """Reads the patch size that :class:`ProgressiveBatchSampler` chose for a sample in a pipeline.

    Raises:
        TypeError: The sample was not drawn by that sampler.
    """
    index = results.get('sample_idx')
    if not isinstance(index, SampleIndex):
        raise TypeError(
            "progressive transforms take the patch size from results['sample_idx'], a SampleIndex; found "
            f'{type(index).__name__}. Set train_dataloader.batch_sampler to dict(type='
            "'ProgressiveBatchSampler', ...), or use transforms with a fixed patch size."
        )
    return index.patch_size


@DATA_SAMPLERS.register_module()
class ProgressiveBatchSampler:
    """Endless batches whose size and patch size depend on the iteration (Restormer, CVPR 2022, progressive learning).

    Goes into ``train_dataloader.batch_sampler``, with an InfiniteSampler for ``sampler`` and
    ProgressivePairedRandomCrop in the pipeline. The order of samples is the InfiniteSampler's: one stream of
    permutations that all ranks share, of which each takes every world-size-th sample. Batches depend on the iteration,
    the seed and the world size alone, and start over with each ``iter()``.

    Args:
        sampler (InfiniteSampler): Says seed, order, rank and world size. mmengine passes it.
        batch_size (int): The ``batch_size`` of the data loader, which mmengine passes and scales the learning rate by;
            must be ``batch_sizes[0]``.
        batch_sizes (list[int]): Samples a batch and rank, for each stage.
        patch_sizes (list[int]): Side of the ground truth's patches in pixels, for each stage.
        iters (list[int]): Iterations, for each stage. The last stage goes on for as long as the training does.
    """

    def __init__(self, sampler, batch_size: int, *, batch_sizes: list[int], patch_sizes: list[int], iters: list[int]):
        _check_stages(batch_sizes=batch_sizes, patch_sizes=patch_sizes, iters=iters)
        if batch_size != batch_sizes[0]:
            raise ValueError(
                f'train_dataloader.batch_size is {batch_size}, but batch_sampler.batch_sizes starts with '
                f'{batch_sizes[0]}. Set both to the batch size of the first stage; the batch sampler '
                'decides, and mmengine scales the learning rate by batch_size.'
            )
        missing = [name for name in ('size', 'seed', 'shuffle', 'rank', 'world_size') if not hasattr(sampler, name)]
        if missing:
            raise TypeError(
                f"ProgressiveBatchSampler needs sampler=dict(type='InfiniteSampler'); found "
                f'{type(sampler).__name__} without {", ".join(missing)}'
            )
        if not sampler.size:
            raise ValueError('the training set is empty: check data_root and data_prefix of train_dataloader.dataset')
        self.sampler = sampler
        self.batch_size = batch_size
        self.batch_sizes = list(batch_sizes)
        self.patch_sizes = list(patch_sizes)
        self.ends = list(itertools.accumulate(iters))

    def stage_of(self, iteration: int) -> int:
        """Says which stage (from 0) an iteration (from 0) belongs to."""
        return min(bisect.bisect_right(self.ends, iteration), len(self.ends) - 1)

    def __iter__(self):
        indices = itertools.islice(self._stream(), self.sampler.rank, None, self.sampler.world_size)
        for iteration in itertools.count():
            stage = self.stage_of(iteration)
            patch_size = self.patch_sizes[stage]
            batch = itertools.islice(indices, self.batch_sizes[stage])
            yield [SampleIndex(index, patch_size) for index in batch]

    def _stream(self):
        """Yields InfiniteSampler's indices for all ranks, from the first one on."""
        generator = torch.Generator()
        generator.manual_seed(self.sampler.seed)
        while True:
            order = (
                torch.randperm(self.sampler.size, generator=generator)
                if self.sampler.shuffle
                else torch.arange(self.sampler.size)
            )
            yield from order.tolist()

    def __len__(self):
        return self.ends[-1]


def _check_stages(**lists):
    lengths = {name: len(values) for name, values in lists.items()}
    if len(set(lengths.values())) != 1 or not all(lengths.values()):
        raise ValueError(f'every stage needs a batch size, a patch size and a number of iterations; found {lengths}')
    for name, values in lists.items():
        if not all(isinstance(value, int) and value > 0 for value in values):
            raise ValueError(f'{name} must be whole numbers above 0; found {list(values)}')

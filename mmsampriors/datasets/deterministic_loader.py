"""A data loader whose samples are a function of seed and iteration, so that it resumes exactly.

Order and per-sample randomness do not depend on workers or on what was drawn before.
"""

import bisect
import contextlib
import itertools
import math
import multiprocessing
import os
import random
import threading
import time
from dataclasses import dataclass
from typing import Callable, Iterator, List, Optional, Tuple

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from mmsampriors.compat.upstream import restart_order
from mmsampriors.registry import DATA_SAMPLERS

# Positions of extra samples begin here, so that none draws what another sample draws.
FIRST_EXTRA = 2**40


@contextlib.contextmanager
def random_state_of(*key: int):
    """Inside, Python's, numpy's and torch's CPU generators draw what ``key`` says; outside they go on as they were."""
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    for seed_generator, seed in zip((random.seed, np.random.seed, torch.default_generator.manual_seed), seeds_of(*key)):
        seed_generator(seed)
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.set_rng_state(states[2])


def seeds_of(*key: int) -> List[int]:
    """Three well-mixed seeds of 32 bits, for Python, numpy and torch."""
    return np.random.SeedSequence(key).generate_state(3).tolist()


class DeterministicSamples(Dataset):
    """A dataset that is asked for ``(position, index)`` and draws its random transforms from the position.

    Covers whatever draws from the generators of Python, numpy and torch's CPU, as mmagic's transforms do. A transform
    with a generator or a memory of its own keeps it.

    Args:
        dataset (Dataset): Asked for ``index``.
        seed (int): Of the run.
    """

    def __init__(self, dataset: Dataset, seed: int):
        self.dataset, self.seed = dataset, seed

    def __len__(self):
        return len(self.dataset)

    def __getitem__(self, sample: Tuple[int, int]):
        position, index = sample
        with random_state_of(self.seed, position):
            return self.dataset[index]


@dataclass(frozen=True)
class ExtraSamples:
    """Samples that are added to the batches of a sampler that knows nothing of them.

    Their order is a permutation a round, a function of ``seed``; positions are counted as those of the others are. The
    others keep batches, order and positions.

    Args:
        first (int): Index of the first of them in the dataset.
        count (int): How many there are.
        per_pair (float): Extra samples for each sample of the batches to which they are added. What is left of a batch
            counts in the next one: half a sample in each of two batches is none in the first and one in the second.
        seed (int): Of the run.
        wanted (callable, optional): Maps the number of a batch, from 0, to whether extra samples are added to it.
            Defaults to None: to every one.
    """

    first: int
    count: int
    per_pair: float
    seed: int = 0
    wanted: Optional[Callable[[int], bool]] = None

    def allowed_in(self, number: int) -> bool:
        """Whether any may be added to a batch."""
        return self.wanted is None or self.wanted(number)

    def due(self, beside: int) -> int:
        """How many there are beside so many samples of a rank, all batches so far together."""
        # The sum of the same few shares may fall short of a whole number by a rounding error.
        return math.floor(self.per_pair * beside + 1e-6)

    def at(self, position: int, like: int) -> Tuple[int, int]:
        """The extra sample at a position of their own order, of the patch size of another sample's index."""
        order = np.random.default_rng([self.seed, position // self.count, FIRST_EXTRA]).permutation(self.count)
        index = self.first + int(order[position % self.count])
        return FIRST_EXTRA + position, SampleIndex(index, like.patch_size) if isinstance(like, SampleIndex) else index


class DeterministicBatches:
    """The batches of a batch sampler from an iteration on, round after round, as ``(position, index)``.

    The position counts the samples of all ranks in the order in which mmengine's samplers deal them out, so that two
    ranks with batches of b draw what one rank with batches of 2b draws. What comes before the first iteration is
    counted and not loaded.

    Args:
        batch_sampler (Iterable[list[int]]): With a ``sampler`` whose order depends on its seed and on what
            ``set_epoch`` was given, as that of mmengine's samplers does.
        start (int): Number of the first batch, from 0.
        rank (int): Of this process.
        world_size (int): Number of processes.
        extra (ExtraSamples, optional): What is added at the end of the batches.
    """

    def __init__(
        self, batch_sampler, start: int = 0, rank: int = 0, world_size: int = 1, extra: Optional[ExtraSamples] = None
    ):
        self.batch_sampler, self.start, self.rank, self.world_size = batch_sampler, start, rank, world_size
        self.extra = extra

    def __iter__(self) -> Iterator[List[Tuple[int, int]]]:
        taken = beside = extra_taken = 0
        for number, batch in enumerate(self._rounds()):
            if self.extra and self.extra.allowed_in(number):
                beside += len(batch)
            places = self.extra.due(beside) - extra_taken if self.extra else 0
            if number >= self.start:
                samples = list(zip(self._positions(taken), batch))
                extra_positions = itertools.islice(self._positions(extra_taken), places)
                yield samples + [self.extra.at(position, batch[0]) for position in extra_positions]
            taken, extra_taken = taken + len(batch), extra_taken + places

    def _positions(self, before: int) -> Iterator[int]:
        """Positions of this rank's samples after ``before`` of its own."""
        return itertools.count(before * self.world_size + self.rank, self.world_size)

    def _rounds(self):
        sampler = self.batch_sampler.sampler
        for epoch in itertools.count():
            if hasattr(sampler, 'set_epoch'):
                sampler.set_epoch(epoch)
            restart_order(sampler)
            batches = iter(self.batch_sampler)
            first = next(batches, None)
            if first is None:
                raise ValueError(
                    'the training set gives no batch: check data_root, data_prefix and batch_size of train_dataloader'
                )
            yield first
            yield from batches


def deterministic_loader(loader: DataLoader, seed: int, **batches) -> DataLoader:
    """A data loader like ``loader``, whose samples depend on ``seed`` and position alone; it never ends.

    Args:
        loader (DataLoader): With a batch sampler.
        seed (int): Of the run.
        **batches: ``start``, ``rank``, ``world_size`` and ``extra`` of :class:`DeterministicBatches`.
    """
    batch_sampler = DeterministicBatches(loader.batch_sampler, **batches)
    return end_workers_with_parent(loader_like(loader, DeterministicSamples(loader.dataset, seed), batch_sampler))


#: Seconds from look to look.
POLL = 1.0


class EndWithParent:
    """A ``worker_init_fn``: the worker ends when the process that started it does, whatever it is at.

    A worker of torch looks for its parent too, but only between two samples, and at its end it waits until all that it
    has made is sent: for ever, where nobody reads any more.

    Args:
        init (callable, optional): Another ``worker_init_fn``, which is called as it would have been.
    """

    def __init__(self, init: Optional[Callable] = None):
        self.init = init

    def __call__(self, worker_id: int):
        threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
        if self.init is not None:
            self.init(worker_id)


def _end_with(started_by: int):
    # A fork sees another parent when its own has died; processes that start in other ways see the sentinel.
    while os.getppid() == started_by and multiprocessing.parent_process().is_alive():
        time.sleep(POLL)
    os._exit(1)


def end_workers_with_parent(loader: DataLoader) -> DataLoader:
    """Lets the workers that a loader will start end with this process; the loader itself is returned."""
    if not isinstance(loader.worker_init_fn, EndWithParent):
        loader.worker_init_fn = EndWithParent(loader.worker_init_fn)
    return loader


def loader_like(loader: DataLoader, dataset, batch_sampler) -> DataLoader:
    """A data loader with the settings of another one, for other samples or another order."""
    same = (
        'num_workers',
        'collate_fn',
        'pin_memory',
        'timeout',
        'worker_init_fn',
        'multiprocessing_context',
        'prefetch_factor',
        'persistent_workers',
    )
    return DataLoader(dataset, batch_sampler=batch_sampler, **{name: getattr(loader, name) for name in same})


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

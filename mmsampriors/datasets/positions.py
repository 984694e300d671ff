"""Samples that depend on their position in the training alone, and not on what was loaded before them."""

import contextlib
import itertools
import random
from dataclasses import dataclass
from typing import Callable, Iterator, List, Optional, Tuple

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from mmsampriors.upstream_internals import restart_order

from .samplers.progressive import SampleIndex

# Positions of extra samples begin here, so that none draws what another sample draws.
FIRST_EXTRA = 2**40


@contextlib.contextmanager
def randomness_of(*key: int):
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


class PositionedSamples(Dataset):
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
        with randomness_of(self.seed, position):
            return self.dataset[index]


@dataclass(frozen=True)
class ExtraSamples:
    """Samples that ride in the batches of a sampler that knows nothing of them.

    Their order is a permutation a round, a function of ``seed``; positions are counted as those of the others are. The
    others keep batches, order and positions.

    Args:
        first (int): Index of the first of them in the dataset.
        count (int): How many there are.
        share (float): Extra samples for each sample of a batch.
        seed (int): Of the run.
        wanted (callable, optional): Maps the number of a batch, from 0, to whether extra samples ride in it. Defaults
            to None: in every one.
    """

    first: int
    count: int
    share: float
    seed: int = 0
    wanted: Optional[Callable[[int], bool]] = None

    def places(self, number: int, batch: list) -> int:
        """How many ride in a batch."""
        return round(self.share * len(batch)) if self.wanted is None or self.wanted(number) else 0

    def at(self, position: int, like: int) -> Tuple[int, int]:
        """The extra sample at a position of their own order, of the patch size of another sample's index."""
        order = np.random.default_rng([self.seed, position // self.count, FIRST_EXTRA]).permutation(self.count)
        index = self.first + int(order[position % self.count])
        return FIRST_EXTRA + position, SampleIndex(index, like.patch_size) if isinstance(like, SampleIndex) else index


class PositionedBatches:
    """The batches of a batch sampler from an iteration on, round after round, as ``(position, index)``.

    The position counts the samples of all ranks in the order in which mmengine's samplers deal them out, so that two
    ranks with batches of b draw what one rank with batches of 2b draws. What comes before the first iteration is
    counted and not loaded.

    Args:
        batch_sampler (Iterable[list[int]]): With a ``sampler`` whose order depends on its seed and on what
            ``set_epoch`` was told, as that of mmengine's samplers does.
        start (int): Number of the first batch, from 0.
        rank (int): Of this process.
        world_size (int): Number of processes.
        extra (ExtraSamples, optional): What rides at the end of the batches.
    """

    def __init__(
        self, batch_sampler, start: int = 0, rank: int = 0, world_size: int = 1, extra: Optional[ExtraSamples] = None
    ):
        self.batch_sampler, self.start, self.rank, self.world_size = batch_sampler, start, rank, world_size
        self.extra = extra

    def __iter__(self) -> Iterator[List[Tuple[int, int]]]:
        taken = ridden = 0
        for number, batch in enumerate(self._rounds()):
            places = self.extra.places(number, batch) if self.extra else 0
            if number >= self.start:
                samples = list(zip(self._positions(taken), batch))
                riders = itertools.islice(self._positions(ridden), places)
                yield samples + [self.extra.at(position, batch[0]) for position in riders]
            taken, ridden = taken + len(batch), ridden + places

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


def positioned_loader(loader: DataLoader, seed: int, **batches) -> DataLoader:
    """A data loader like ``loader``, whose samples depend on ``seed`` and position alone; it never ends.

    Args:
        loader (DataLoader): With a batch sampler.
        seed (int): Of the run.
        **batches: ``start``, ``rank``, ``world_size`` and ``extra`` of :class:`PositionedBatches`.
    """
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
    return DataLoader(
        PositionedSamples(loader.dataset, seed),
        batch_sampler=PositionedBatches(loader.batch_sampler, **batches),
        **{name: getattr(loader, name) for name in same},
    )

import itertools
import random

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmengine.dataset import DefaultSampler, InfiniteSampler
from torch.utils.data import BatchSampler, DataLoader, Dataset

from mmsampriors.datasets.deterministic_loader import (
    DeterministicBatches,
    ExtraSamples,
    ProgressiveBatchSampler,
    deterministic_loader,
    random_state_of,
)


class Draws(Dataset):
    """Three samples; each is its index and what Python, numpy and torch draw for it."""

    def __init__(self):
        self.loaded = 0

    def __len__(self):
        return 3

    def __getitem__(self, index):
        self.loaded += 1
        return int(index), random.random(), np.random.rand(), torch.rand(()).item()


def batch_sampler(kind, size=7, batch_size=2, rank=0, world_size=1):
    """Of mmengine's samplers in batches, as rank of a group; they read rank and world size when they are asked."""
    if kind == 'default':
        sampler = DefaultSampler(range(size), seed=3)
        sampler.rank, sampler.world_size = rank, world_size
        sampler.total_size = -(-size // world_size) * world_size
        return BatchSampler(sampler, batch_size, drop_last=False)
    sampler = InfiniteSampler(range(size), seed=3)
    sampler.rank, sampler.world_size = rank, world_size
    if kind == 'infinite':
        return BatchSampler(sampler, batch_size, drop_last=False)
    return ProgressiveBatchSampler(sampler, batch_size, batch_sizes=[batch_size, 1], patch_sizes=[8, 16], iters=[3, 5])


def take(batches, count):
    return list(itertools.islice(batches, count))


@settings(deadline=None)
@given(
    st.sampled_from(['default', 'infinite', 'progressive']), st.integers(1, 9), st.integers(1, 4), st.integers(0, 30)
)
def test_batches_go_on_where_they_were(kind, size, batch_size, start):
    whole = take(DeterministicBatches(batch_sampler(kind, size, batch_size)), start + 5)
    sampler = batch_sampler(kind, size, batch_size)
    take(sampler, 2)  # the workers of mmengine's loop have drawn some
    assert take(DeterministicBatches(sampler, start), 5) == whole[start:]
    positions = [position for batch in whole for position, _ in batch]
    assert positions == list(range(len(positions)))


@pytest.mark.parametrize('kind', ['infinite', 'progressive'])
def test_the_order_is_that_of_the_sampler(kind):
    expected = take(batch_sampler(kind), 12)
    assert [[index for _, index in batch] for batch in take(DeterministicBatches(batch_sampler(kind)), 12)] == expected


def test_rounds_of_a_finite_sampler_are_shuffled_anew():
    rounds = [[index for _, index in batch] for batch in take(DeterministicBatches(batch_sampler('default', 6, 6)), 4)]
    assert all(sorted(one) == list(range(6)) for one in rounds) and len(set(map(tuple, rounds))) > 1


@pytest.mark.parametrize('kind', ['default', 'infinite'])
def test_two_ranks_draw_what_one_draws_with_twice_the_batch(kind):
    ranks = [take(DeterministicBatches(batch_sampler(kind, 8, 2, rank, 2), 0, rank, 2), 9) for rank in (0, 1)]
    one = take(DeterministicBatches(batch_sampler(kind, 8, 4)), 9)
    assert [sorted(first + second) for first, second in zip(*ranks)] == [sorted(batch) for batch in one]


def test_an_empty_training_set_is_refused():
    with pytest.raises(ValueError, match='gives no batch'):
        next(iter(DeterministicBatches(BatchSampler(DefaultSampler([], seed=0, round_up=False), 2, False))))


@pytest.mark.parametrize('workers, start', [(0, 0), (0, 5), (2, 5)])
def test_a_sample_depends_on_seed_and_position_alone(workers, start):
    def loader(dataset, num_workers):
        return DataLoader(dataset, batch_sampler=batch_sampler('infinite', 3), num_workers=num_workers, collate_fn=list)

    whole = take(deterministic_loader(loader(Draws(), 0), 11), 8)
    dataset = Draws()
    assert take(deterministic_loader(loader(dataset, workers), 11, start=start), 8 - start) == whole[start:]
    assert dataset.loaded == (0 if workers else 2 * (8 - start)), 'nothing before the start is loaded'
    assert take(deterministic_loader(loader(Draws(), 0), 12), 8) != whole
    samples = sum(whole, [])
    for draws in list(zip(*samples))[1:]:
        assert len(set(draws)) == len(samples), 'the same image is new each time'


def test_the_generators_go_on_outside_as_if_nothing_had_been_drawn():
    def draw():
        return random.random(), np.random.rand(), np.random.randn(), torch.rand(()).item()

    for seed_generator in (random.seed, np.random.seed, torch.manual_seed):
        seed_generator(4)
    expected = draw(), draw()
    for seed_generator in (random.seed, np.random.seed, torch.manual_seed):
        seed_generator(4)
    first = draw()
    with random_state_of(1, 2):
        inside = draw()
    assert (first, draw()) == expected and inside not in expected
    with random_state_of(1, 2):
        assert draw() == inside


def with_extra(kind, per_pair=0.5, rank=0, world_size=1, batch_size=4, **options):
    extra = ExtraSamples(first=100, count=3, per_pair=per_pair, seed=5, **options)
    sampler = batch_sampler(kind, 8, batch_size, rank, world_size)
    return DeterministicBatches(sampler, 0, rank, world_size, extra)


@pytest.mark.parametrize('kind', ['default', 'infinite', 'progressive'])
def test_extra_samples_come_last_and_move_nothing(kind):
    batches = take(with_extra(kind, wanted=lambda number: number >= 2), 9)
    plain = take(DeterministicBatches(batch_sampler(kind, 8, 4)), 9)
    assert [batch[: len(other)] for batch, other in zip(batches, plain)] == plain
    extra = [batch[len(other) :] for batch, other in zip(batches, plain)]
    beside = itertools.accumulate(len(other) if number >= 2 else 0 for number, other in enumerate(plain))
    assert list(itertools.accumulate(map(len, extra))) == [count // 2 for count in beside]
    indices = [index for one in extra for _, index in one]
    assert all(sorted(indices[start : start + 3]) == [100, 101, 102] for start in range(0, len(indices) - 2, 3))
    positions = [position for batch in batches for position, _ in batch]
    assert len(set(positions)) == len(positions)
    if kind == 'progressive':
        patches = [{index.patch_size for _, index in batch} for batch in batches]
        assert patches == 3 * [{8}] + 6 * [{16}]


@settings(deadline=None)
@given(
    st.sampled_from([0.1, 0.25, 0.29, 1 / 3, 0.5, 0.7, 1.0, 1.5]),
    st.sampled_from(['default', 'infinite', 'progressive']),
    st.integers(1, 5),
    st.integers(0, 40),
)
def test_what_is_left_of_a_batch_counts_in_the_next(share, kind, batch_size, start):
    """Also where a batch by itself is worth less than half a sample, on every rank and after a resume."""
    ranks = [with_extra(kind, share, rank, 2, batch_size) for rank in (0, 1)]
    for batches in ranks:
        batches.start = start
    resumed = [take(batches, 50 - start) for batches in ranks]
    whole = take(with_extra(kind, share, 1, 2, batch_size), 50)
    assert resumed[1] == whole[start:]
    assert [len(batch) for batch in resumed[0]] == [len(batch) for batch in resumed[1]]
    kinds = [[index >= 100 for _, index in batch] for batch in whole]
    extra, pairs = (sum(batch.count(wanted) for batch in kinds) for wanted in (True, False))
    assert share * pairs - 1 < extra < share * pairs + 1e-3


def test_each_round_of_extra_samples_has_an_order_of_its_own():
    batches = take(with_extra('infinite', per_pair=1.0, batch_size=6), 10)
    indices = [index for batch in batches for _, index in batch[6:]]
    rounds = [tuple(indices[start : start + 3]) for start in range(0, len(indices), 3)]
    assert len(set(rounds)) > 3 and all(set(one) == {100, 101, 102} for one in rounds)


@pytest.mark.parametrize('start', [1, 4, 7])
def test_extra_samples_go_on_where_they_were(start):
    whole, resumed = with_extra('progressive'), with_extra('progressive')
    resumed.start = start
    assert take(resumed, 4) == take(whole, start + 4)[start:]


def test_two_ranks_draw_the_extra_samples_of_one_with_twice_the_batch():
    ranks = [take(with_extra('infinite', rank=rank, world_size=2, batch_size=2), 9) for rank in (0, 1)]
    one = take(with_extra('infinite'), 9)
    assert [sorted(first + second) for first, second in zip(*ranks)] == [sorted(batch) for batch in one]

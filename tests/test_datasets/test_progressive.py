import copy
import itertools
import pickle
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmengine.dataset import BaseDataset, ConcatDataset, InfiniteSampler, RepeatDataset
from torch.utils.data import DataLoader

from mmsampriors.datasets.deterministic_loader import ProgressiveBatchSampler, SampleIndex, patch_size_of

stages = st.lists(st.tuples(st.integers(1, 5), st.integers(8, 64), st.integers(1, 6)), min_size=1, max_size=4)


def sampler_of(size, seed=0, shuffle=True, rank=0, world_size=1):
    sampler = InfiniteSampler(range(size), shuffle=shuffle, seed=seed)
    # Read by InfiniteSampler when the first index is drawn, so this stands for a process of a group.
    sampler.rank, sampler.world_size = rank, world_size
    return sampler


def progressive(sampler, plan):
    batch_sizes, patch_sizes, iters = map(list, zip(*plan))
    return ProgressiveBatchSampler(
        sampler, batch_sizes[0], batch_sizes=batch_sizes, patch_sizes=patch_sizes, iters=iters
    )


def take(batches, count):
    return [[(int(index), index.patch_size) for index in batch] for batch in itertools.islice(batches, count)]


def naive_batches(sampler, plan, count):
    """What the plan means, written out: one (batch size, patch size) an iteration, indices from the sampler itself."""
    sizes = [(batch_size, patch_size) for batch_size, patch_size, iters in plan for _ in range(iters)]
    sizes += [sizes[-1]] * count
    indices = iter(sampler)
    return [[(next(indices), patch_size) for _ in range(batch_size)] for batch_size, patch_size in sizes[:count]]


@settings(deadline=None)
@given(stages, st.integers(1, 23), st.integers(0, 99), st.booleans(), st.integers(1, 3))
def test_batches_follow_the_plan_and_the_order_of_infinite_sampler(plan, size, seed, shuffle, world_size):
    for rank in range(world_size):
        settings = dict(size=size, seed=seed, shuffle=shuffle, rank=rank, world_size=world_size)
        expected = naive_batches(sampler_of(**settings), plan, 30)
        batches = progressive(sampler_of(**settings), plan)
        assert take(batches, 30) == expected
        assert take(batches, 8) == expected[:8], 'iterating again must start over'


@settings(deadline=None)
@given(stages, st.integers(0, 99))
def test_two_ranks_are_disjoint_and_together_the_stream_of_one_process(plan, seed):
    ranks = [progressive(sampler_of(1000, seed, rank=rank, world_size=2), plan) for rank in (0, 1)]
    taken = [sum(take(batches, 12), []) for batches in ranks]
    stream = list(itertools.islice(iter(sampler_of(1000, seed)), 2 * len(taken[0])))
    assert [index for pair in zip(*taken) for index, _ in pair] == stream
    assert not set(taken[0]) & set(taken[1])


def test_restormer_plan_changes_at_the_published_iterations():
    batches = ProgressiveBatchSampler(
        sampler_of(13_711),
        8,
        batch_sizes=[8, 5, 4, 2, 1, 1],
        patch_sizes=[128, 160, 192, 256, 320, 384],
        iters=[92_000, 64_000, 48_000, 36_000, 36_000, 24_000],
    )
    assert len(batches) == 300_000
    for iteration, batch_size, patch_size in [
        (0, 8, 128),
        (91_999, 8, 128),
        (92_000, 5, 160),
        (155_999, 5, 160),
        (156_000, 4, 192),
        (204_000, 2, 256),
        (240_000, 1, 320),
        (276_000, 1, 384),
        (299_999, 1, 384),
        (400_000, 1, 384),
    ]:
        stage = batches.stage_of(iteration)
        assert (batches.batch_sizes[stage], batches.patch_sizes[stage]) == (batch_size, patch_size)


class Five(BaseDataset):
    """Five samples; a pipeline sees what mmengine makes of an index."""

    def load_data_list(self):
        return [dict(number=number) for number in range(5)]


def five():
    return Five(pipeline=[lambda results: (results['number'], patch_size_of(results))])


@pytest.mark.parametrize('num_workers', [0, 2])
def test_patch_size_reaches_worker_processes(num_workers):
    batches = progressive(sampler_of(5), [(3, 16, 2), (2, 24, 2)])
    loader = DataLoader(five(), batch_sampler=batches, num_workers=num_workers, collate_fn=list)
    assert list(itertools.islice(loader, 4)) == take(batches, 4)


@pytest.mark.parametrize('wrapper', [ConcatDataset([five(), five()]), RepeatDataset(five(), times=2)])
def test_patch_size_survives_dataset_wrappers(wrapper):
    assert wrapper[SampleIndex(7, 24)] == (2, 24)


def test_sample_index_is_an_int_that_keeps_its_patch_size():
    index = SampleIndex(7, 128)
    assert index == 7 and torch.arange(9)[index] == 7
    for twin in (pickle.loads(pickle.dumps(index)), copy.deepcopy(index)):
        assert (twin, twin.patch_size, type(twin)) == (7, 128, SampleIndex)


def test_plain_index_is_refused_with_the_way_out():
    with pytest.raises(TypeError, match='found int.*ProgressiveBatchSampler'):
        patch_size_of(dict(sample_idx=3))


@pytest.mark.parametrize(
    'change, message',
    [
        (dict(batch_sizes=[2]), 'every stage needs'),
        (dict(patch_sizes=[0, 8]), 'patch_sizes must be whole numbers'),
        (dict(iters=[1.5, 2]), 'iters must be whole numbers'),
        (dict(batch_size=4), 'batch_size is 4.*starts with 2'),
    ],
)
def test_wrong_plans_are_refused(change, message):
    settings = dict(batch_size=2, batch_sizes=[2, 1], patch_sizes=[8, 16], iters=[5, 5])
    with pytest.raises(ValueError, match=message):
        ProgressiveBatchSampler(sampler_of(5), **{**settings, **change})


def test_other_samplers_and_empty_sets_are_refused():
    plan = dict(batch_sizes=[2], patch_sizes=[8], iters=[5])
    with pytest.raises(TypeError, match='InfiniteSampler.*SimpleNamespace without size'):
        ProgressiveBatchSampler(SimpleNamespace(), 2, **plan)
    with pytest.raises(ValueError, match='training set is empty'):
        ProgressiveBatchSampler(SimpleNamespace(size=0, seed=0, shuffle=True, rank=0, world_size=1), 2, **plan)

"""The scenes, clicks and losses that the small SAM is trained with."""

import sys
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / '.dev_scripts'))

from tiny_sam_training.losses import GroupingLoss, assignment_loss, mask_costs, mask_ious  # noqa: E402
from tiny_sam_training.outlines import OUTLINES, partition  # noqa: E402
from tiny_sam_training.painted import make_painted  # noqa: E402
from tiny_sam_training.pool import MASK_STRIDE, ScenePool, make_pool  # noqa: E402
from tiny_sam_training.scenes import MIN_LEAF_PIXELS, make_scene  # noqa: E402
from tiny_sam_training.textures import PATTERNS, smooth_noise  # noqa: E402


@pytest.fixture(scope='module', autouse=True)
def one_thread():
    torch.set_num_threads(1)


@pytest.fixture(scope='module')
def scenes():
    return [make((5, i), size=96) for make in (make_scene, make_painted) for i in range(6)]


@pytest.fixture(scope='module')
def shards(tmp_path_factory):
    from tiny_sam_training import pool

    pool.SHARD, shard = 2, pool.SHARD
    folder = tmp_path_factory.mktemp('scenes')
    kinds = make_pool(folder, seed=3, shards=2, painted=1, workers=1)
    yield kinds
    pool.SHARD = shard


@pytest.mark.parametrize('make', [make_scene, make_painted])
def test_scene_is_reproducible(make):
    first, second = make((7, 1), size=64), make((7, 1), size=64)
    for key in ('image', 'leaves', 'objects', 'groups'):
        assert np.array_equal(getattr(first, key), getattr(second, key))
    assert not np.array_equal(first.image, make((7, 2), size=64).image)


def test_leaves_are_connected_and_not_specks(scenes):
    for scene in scenes:
        for leaf in range(1, scene.leaves.max() + 1):
            mask = scene.leaves == leaf
            assert mask.sum() >= MIN_LEAF_PIXELS
            assert ndimage.label(mask)[1] == 1


def test_each_granularity_is_a_union_of_the_finer_one(scenes):
    for scene in scenes:
        maps = scene.label_maps()
        for fine, coarse in zip(maps, maps[1:]):
            for label in np.unique(fine):
                assert len(np.unique(coarse[fine == label])) == 1
        assert all(np.array_equal(m == 0, scene.leaves == 0) for m in maps)


def test_masks_are_exact_where_paint_is_flat(monkeypatch):
    """With one flat colour a part and no camera, colour borders are label borders to within the blended rim."""
    from tiny_sam_training import scenes, textures

    monkeypatch.setattr(scenes, 'camera', lambda rng, image: np.clip(image * 255, 0, 255).astype(np.uint8))
    monkeypatch.setattr(scenes._Canvas, '_shadow', lambda *args: None)
    monkeypatch.setattr(scenes._Canvas, '_paint', _flat_paint)
    monkeypatch.setattr(textures.Material, 'paint', None)
    scene = make_scene((11, 4), size=96)
    assert scene.leaves.max() >= 3
    for leaf in range(1, scene.leaves.max() + 1):
        core = ndimage.binary_erosion(scene.leaves == leaf, iterations=5)
        if core.any():
            assert np.ptp(scene.image[core].astype(int), axis=0).max() <= 1


def _flat_paint(self, labels, materials):
    return np.stack([m.color for m in materials])[np.maximum(labels, 0)].astype(np.float32)


@pytest.mark.parametrize('draw', OUTLINES, ids=lambda f: f.__name__)
def test_outlines_fill_a_part_of_their_box(draw):
    for seed in range(5):
        mask = draw(np.random.default_rng(seed), 40, 56)
        assert mask.shape == (40, 56) and mask.dtype == bool
        assert mask.mean() > 0.005


@pytest.mark.parametrize('pattern', PATTERNS, ids=lambda f: f.__name__)
def test_patterns_are_finite_and_centred(pattern):
    for seed in range(5):
        values = pattern(np.random.default_rng(seed), 33, 47)
        assert values.shape == (33, 47, 3) and np.isfinite(values).all()
        assert abs(values.mean()) < 1.5 and values.std() < 4


@given(st.integers(1, 80), st.integers(1, 80), st.integers(0, 100))
@settings(max_examples=20, deadline=None)
def test_smooth_noise_takes_any_shape(height, width, seed):
    noise = smooth_noise(np.random.default_rng(seed), height, width)
    assert noise.shape == (height, width) and np.isfinite(noise).all()


@given(st.integers(8, 60), st.integers(8, 60), st.integers(1, 9), st.integers(0, 100))
@settings(max_examples=20, deadline=None)
def test_partition_makes_at_most_the_regions_asked_for(height, width, count, seed):
    labels = partition(np.random.default_rng(seed), height, width, count)
    assert labels.shape == (height, width) and labels.max() < count


def test_pool_makes_only_what_is_missing(shards):
    (first, second), (painted,) = shards
    before = [path.stat().st_mtime_ns for path in (first, painted)]
    second.unlink()
    from tiny_sam_training import pool

    pool.SHARD = 2
    again = make_pool(first.parent, seed=3, shards=2, painted=1, workers=1)
    assert again == shards and second.exists()
    assert [path.stat().st_mtime_ns for path in (first, painted)] == before
    assert not list(first.parent.glob('*.tmp'))


@pytest.mark.parametrize('steps, images, window', [((0, 1), 2, 128), ((2, 3), 1, 256)])
def test_clicks_lie_in_their_targets(shards, steps, images, window):
    pool = ScenePool(shards, seed=0, batch=1, prompts=6, small_steps=2)
    for step in steps:
        batch = pool[step]
        assert batch.images.shape == (images, 3, window, window)
        points = batch.points - torch.tensor(batch.corner[::-1]) * 16
        for image in range(images):
            height, width = batch.valid[image].tolist()
            assert (batch.images[image, :, height:] == 0).all() and (batch.images[image, :, :, width:] == 0).all()
            for prompt in range(6):
                x, y = points[image, prompt].long().tolist()
                assert 0 <= x < width and 0 <= y < height
                cover = batch.targets[image, prompt, :, y // MASK_STRIDE, x // MASK_STRIDE]
                assert (cover[batch.weights[image, prompt] > 0] > 0).all()


def test_a_step_of_the_pool_depends_on_its_number_alone(shards):
    first, second = (ScenePool(shards, seed=0, batch=2, prompts=4, small_steps=9) for _ in range(2))
    first[0]
    assert torch.equal(first[5].targets, second[5].targets) and torch.equal(first[5].images, second[5].images)


def test_targets_are_nested_and_repeats_do_not_count(shards):
    batch = ScenePool(shards, seed=1, batch=4, prompts=8, small_steps=0)[0]
    leaf, whole, group = batch.targets.unbind(2)
    assert (leaf <= whole).all() and (whole <= group).all()
    same = (leaf == whole).flatten(2).all(2)
    assert (batch.weights[..., 1][same] == 0).all()


@given(st.integers(0, 1000))
@settings(max_examples=10, deadline=None)
def test_mask_costs_and_ious_against_a_loop(seed):
    torch.manual_seed(seed)
    logits, targets = torch.randn(2, 4, 5, 6, dtype=torch.float64), torch.rand(2, 3, 5, 6, dtype=torch.float64).round()
    valid = torch.zeros(2, 1, 5, 6, dtype=torch.float64)
    valid[:, :, :4, :5] = 1
    costs, ious = mask_costs(logits, targets, valid), mask_ious(logits, targets, valid)
    for n in range(2):
        for o in range(4):
            for g in range(3):
                x, t = logits[n, o, :4, :5], targets[n, g, :4, :5]
                p = x.sigmoid()
                focal = -(t * (1 - p) ** 2 * p.log() + (1 - t) * p**2 * (1 - p).log()).mean() / 2
                dice = 1 - (2 * (p * t).sum() + 1) / (p.sum() + t.sum() + 1)
                assert torch.isclose(costs[n, o, g], 20 * focal + dice)
                inter, union = ((x > 0) & (t > 0)).sum(), ((x > 0) | (t > 0)).sum()
                assert torch.isclose(ious[n, o, g], (inter / union).double(), atol=1e-6)


@given(st.integers(0, 1000))
@settings(max_examples=20, deadline=None)
def test_assignment_loss_against_a_search(seed):
    torch.manual_seed(seed)
    costs, weights = torch.rand(4, 3, 3), (torch.rand(4, 3) < 0.6).float()
    for cost, weight, loss in zip(costs, weights, assignment_loss(costs, weights)):
        counted = [g for g in range(3) if weight[g]]
        totals = []
        for order in permutations(range(3)):
            total = sum(cost[order[g], g] for g in counted)
            idle = [order[g] for g in range(3) if g not in counted]
            total += 0.05 * sum(min(cost[o, g] for g in counted) for o in idle) if counted else 0
            totals.append(float(total))
        assert loss.item() == pytest.approx(min(totals) / max(1, len(counted)), abs=1e-6)


def test_grouping_loss_falls_when_embeddings_follow_the_labels():
    torch.manual_seed(0)
    labels = torch.ones(1, 32, 32, dtype=torch.uint8)
    labels[:, :, 16:] = 2
    grouping = GroupingLoss(4)
    embeddings = torch.zeros(1, 4, 4, 4)
    mixed = grouping(embeddings, labels, labels)
    embeddings[:, 0, :, :2], embeddings[:, 0, :, 2:] = 9, -9
    for projection in grouping.projections:
        torch.nn.init.constant_(projection.bias, 0)
    assert grouping(embeddings, labels, labels) < mixed

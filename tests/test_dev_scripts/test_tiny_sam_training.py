"""The scenes, clicks and losses that the small SAM is trained with."""

import sys
from itertools import permutations
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / '.dev_scripts'))

from tiny_sam_training.debian_images import image_files, stamp  # noqa: E402
from tiny_sam_training.losses import GroupingLoss, assignment_loss, mask_costs, mask_ious  # noqa: E402
from tiny_sam_training.merging import descriptors, merged  # noqa: E402
from tiny_sam_training.outlines import OUTLINES, partition  # noqa: E402
from tiny_sam_training.painted import make_painted  # noqa: E402
from tiny_sam_training.pasted import make_pasted  # noqa: E402
from tiny_sam_training.plain import make_plain  # noqa: E402
from tiny_sam_training.pool import MASK_STRIDE, ScenePool, make_pool  # noqa: E402
from tiny_sam_training.scenes import MIN_LEAF_PIXELS, make_scene  # noqa: E402
from tiny_sam_training.textures import PATTERNS, smooth_noise  # noqa: E402
from tiny_sam_training.views import shown  # noqa: E402

COUNTS = dict(scenes=2, pasted=1, plain=0)
MAKERS = (make_scene, make_painted, make_pasted, make_plain)


@pytest.fixture(scope='module', autouse=True)
def one_thread():
    torch.set_num_threads(1)


@pytest.fixture(scope='module', autouse=True)
def drawn_stamps(tmp_path_factory):
    """Two cut-outs instead of the Debian package's: a red ring, a striped ellipse; and two files that are none."""
    from tiny_sam_training import debian_images

    folder = tmp_path_factory.mktemp('stamps')
    ring, ellipse = np.zeros((2, 100, 120, 4), np.uint8)
    cv2.circle(ring, (60, 50), 40, (20, 30, 220, 255), 15)
    cv2.ellipse(ellipse, (60, 50), (50, 30), 0, 0, 360, (200, 120, 40, 255), -1)
    ellipse[::10, :, :3] = 30
    (folder / 'more').mkdir()
    (folder / 'symbols').mkdir()
    cv2.imwrite(str(folder / 'symbols' / 'sign.png'), ring)
    for name, image in dict(ring=ring, ellipse=ellipse, opaque=ring[..., :3], speck=ring[:20, :20]).items():
        cv2.imwrite(str(folder / 'more' / f'{name}.png'), image)
    photo = np.random.default_rng(0).integers(0, 255, (6, 9, 3), np.uint8)
    cv2.imwrite(str(folder / 'photo.jpg'), cv2.resize(photo, (270, 180), interpolation=cv2.INTER_CUBIC))
    usual = debian_images.STAMPS, debian_images.BACKGROUNDS
    debian_images.STAMPS = debian_images.BACKGROUNDS = folder
    debian_images.backgrounds.cache_clear()
    yield folder
    debian_images.STAMPS, debian_images.BACKGROUNDS = usual
    debian_images.backgrounds.cache_clear()


@pytest.fixture(scope='module')
def scenes():
    return [make((5, i), size=96) for make in MAKERS for i in range(5)]


@pytest.fixture(scope='module')
def shards(tmp_path_factory):
    from tiny_sam_training import pool

    pool.SHARD, shard = 2, pool.SHARD
    folder = tmp_path_factory.mktemp('scenes')
    kinds = make_pool(folder, seed=3, counts=COUNTS, workers=1)
    yield kinds
    pool.SHARD = shard


@pytest.mark.parametrize('make', MAKERS, ids=lambda make: make.__name__)
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


def test_a_pasted_thing_hides_what_is_behind_it():
    """Somewhere its labels are those of the drawn cut-out: a ring with a hole, or an ellipse."""
    from tiny_sam_training import pasted

    rng, image, parts = np.random.default_rng(0), np.zeros((96, 96, 3), np.float32), np.ones((96, 96), np.int32)
    thing = np.zeros((40, 40, 4), np.float32)
    thing[5:35, 5:35] = [0.9, 0.2, 0.1, 1]
    assert pasted._paste(rng, image, parts, thing, np.full((40, 40), 7), (20, 30), 0.5)
    assert (parts[25:55, 35:65] == 7).all() and (parts == 7).sum() == 900
    assert image[40, 50] == pytest.approx([0.9, 0.2, 0.1], abs=0.01) and image[5, 5].max() == 0
    assert not pasted._paste(rng, image, parts, thing, np.full((40, 40), 8), (94, 0), 0.5)
    assert (parts != 8).all()


def test_stamps_are_cut_outs_of_some_size(drawn_stamps):
    found = {path.stem: stamp(path) for path in image_files(drawn_stamps, '*.png')}
    assert 'sign' not in found
    assert found['opaque'] is None and found['speck'] is None
    assert found['ellipse'].shape == (61, 101, 4) and found['ellipse'].max() == 1
    with pytest.raises(FileNotFoundError, match='tuxpaint-stamps-default'):
        image_files(drawn_stamps / 'none', '*.png')


def test_views_are_padded_and_labels_go_with_the_pixels(scenes):
    for number, scene in enumerate(scenes):
        view = shown(np.random.default_rng(number), scene, 96)
        height, width = view.valid
        assert view.image.shape == (96, 96, 3) and max(height, width) == 96
        for array in (view.image, view.leaves):
            assert not array[height:].any() and not array[:, width:].any()
        assert (view.leaves[:height, :width] > 0).mean() > 0.5
        assert set(np.unique(view.leaves)) <= set(np.unique(scene.leaves)) | {0}


def test_pool_makes_only_what_is_missing(shards):
    (first, second), (pasted,) = shards
    before = [shard.path.stat().st_mtime_ns for shard in (first, pasted)]
    second.path.unlink()
    from tiny_sam_training import pool

    pool.SHARD = 2
    again = make_pool(first.path.parent, seed=3, counts=COUNTS, workers=1)
    assert again == shards and second.path.exists()
    assert [shard.path.stat().st_mtime_ns for shard in (first, pasted)] == before
    assert not list(first.path.parent.glob('.*.part'))


@pytest.mark.parametrize('windows, prompts, window', [(1, 12, 192), (0, 6, 384)])
@pytest.mark.parametrize('step', [0, 1])
def test_clicks_lie_in_their_targets_and_boxes_about_them(shards, step, windows, prompts, window):
    batch = ScenePool(shards, seed=0, batch=3, prompts=6, windows=windows)[step]
    assert batch.inside.shape == (3, window, window) and batch.targets.shape[1] == prompts
    for image in range(3):
        offset = 8 * batch.corner[image].flip(0)
        for prompt in range(prompts):
            x, y = (batch.points[image, prompt] - offset).long().tolist()
            assert batch.inside[image, y, x]
            cover = batch.targets[image, prompt, :, y // MASK_STRIDE, x // MASK_STRIDE]
            assert (cover[batch.weights[image, prompt] > 0] > 0).all()
            if batch.weights[image, prompt].any():
                target = batch.targets[image, prompt, batch.chosen[image, prompt]]
                rows, columns = (target.any(axis).nonzero() for axis in (1, 0))
                box = batch.boxes[image, prompt].view(2, 2) - offset
                found = torch.stack([columns[[0, -1]], rows[[0, -1]]], 1)[..., 0] * MASK_STRIDE
                assert ((box - found).abs() <= 0.1 * (found[1] - found[0]) + 2 * MASK_STRIDE + 1).all()


def mirrored(leaves):
    """A label map whose image is mirrored; the padding stays on the right."""
    width = leaves.any(0).sum()
    return np.hstack([leaves[:, :width][:, ::-1], leaves[:, width:]])


def test_compared_cells_have_the_labels_at_their_centres(shards):
    pool = ScenePool(shards, seed=0, batch=1, prompts=2, windows=0)
    batch = pool[3]
    maps = np.concatenate([kind['leaves'] for kind in pool.kinds])
    rows, columns = batch.cells[0] // 48, batch.cells[0] % 48
    maps = [shown for leaves in maps for shown in (leaves, mirrored(leaves))]
    assert any(np.array_equal(leaves[8 * rows + 4, 8 * columns + 4], batch.leaves[0]) for leaves in maps)
    assert (batch.leaves > 0).float().mean() > 0.9


def test_a_step_of_the_pool_depends_on_its_number_alone(shards):
    first, second = (ScenePool(shards, seed=0, batch=2, prompts=4) for _ in range(2))
    first[0]
    assert torch.equal(first[5].targets, second[5].targets) and torch.equal(first[5].pixels, second[5].pixels)


def test_targets_are_nested_and_repeats_do_not_count(shards):
    batch = ScenePool(shards, seed=1, batch=4, prompts=8, windows=0)[0]
    leaf, whole, group = batch.targets.unbind(2)
    assert (leaf <= whole).all() and (whole <= group).all()
    same = (leaf == whole).flatten(2).all(2)
    assert (batch.weights[..., 1][same] == 0).all()


def test_neighbours_that_are_alike_merge_first():
    """Four bands, of which two pairs are alike, in a noisy image of three times as many superpixels."""
    labels = np.repeat(np.arange(12), 8)[:, None].repeat(96, 1)
    features = np.zeros((2, 24, 24), np.float32)
    features[0, 12:] = 5
    features[1, 6:12], features[1, 18:] = 1, 1
    four, two, one = merged(labels, features, [4, 2, 1])
    assert four.tolist() == np.repeat([0, 1, 2, 3], 3).tolist()
    assert two.tolist() == np.repeat([0, 1], 6).tolist() and not one.any()


def test_descriptors_tell_colours_apart():
    window = np.zeros((64, 96, 3), np.float32)
    window[:, 48:, 0] = 0.8
    found = descriptors(window, (1, 0, 0, 0))
    assert found.shape[1:] == (16, 24) and np.isfinite(found).all()
    assert np.linalg.norm(found[:, 8, 4] - found[:, 8, 20]) > 1
    assert np.linalg.norm(found[:, 8, 4] - found[:, 3, 7]) < 1e-4


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
    labels = torch.tensor([[1] * 8 + [2] * 8])
    grouping = GroupingLoss(4)
    embeddings = torch.zeros(1, 4, 16)
    mixed = grouping(embeddings, labels, labels)
    embeddings[:, 0, :8], embeddings[:, 0, 8:] = 9, -9
    for projection in grouping.projections:
        torch.nn.init.constant_(projection.bias, 0)
    assert grouping(embeddings, labels, labels) < mixed

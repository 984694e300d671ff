"""RunMasks against plain boolean arrays."""

import copy
import pickle

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mmsampriors.masks import ImageMasks, RunMasks

torch.set_num_threads(1)


@st.composite
def drawn_masks(draw, max_masks=11):
    """Random masks, from sparse to dense, some of them empty, with distinct scores."""
    height, width, count = draw(st.integers(1, 23)), draw(st.integers(1, 23)), draw(st.integers(0, max_masks))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    masks = rng.random((count, height, width)) < rng.random((count, 1, 1))
    return ImageMasks.from_masks(
        torch.from_numpy(masks),
        torch.from_numpy(rng.random(count, np.float32)),
        torch.from_numpy(rng.random(count, np.float32)),
    )


def assert_same(found: RunMasks, expected: ImageMasks):
    assert len(found) == len(expected)
    assert found.size == expected.size
    for name in ('bitmaps', 'scores', 'stability', 'boxes', 'areas'):
        torch.testing.assert_close(getattr(found, name), getattr(expected, name), rtol=0, atol=0, msg=name)


def naive(masks: ImageMasks, change) -> ImageMasks:
    return ImageMasks.from_masks(change(masks.bitmaps), masks.scores, masks.stability)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow], max_examples=60)
@given(drawn_masks())
def test_masks_survive_packing(masks):
    assert_same(RunMasks.pack(masks), masks)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow], max_examples=100)
@given(drawn_masks(), st.lists(st.sampled_from(['horizontal', 'vertical', 'transpose', 'crop']), max_size=6), st.data())
def test_geometry_equals_that_of_boolean_arrays(masks, steps, data):
    packed, drawn = RunMasks.pack(masks), masks.bitmaps
    for step in steps:
        if step == 'transpose':
            packed, drawn = packed.transpose(), drawn.transpose(1, 2)
        elif step == 'crop':
            height, width = (data.draw(st.integers(1, side)) for side in packed.size)
            top = data.draw(st.integers(0, packed.size[0] - height))
            left = data.draw(st.integers(0, packed.size[1] - width))
            packed = packed.crop(top, left, height, width)
            drawn = drawn[:, top : top + height, left : left + width]
        else:
            packed, drawn = packed.flip(step), drawn.flip(2 if step == 'horizontal' else 1)
        assert packed.size == drawn.shape[1:]
    expected = ImageMasks.from_masks(drawn, masks.scores, masks.stability)
    assert_same(packed, expected)
    cut = packed.cut()
    for same in (cut, pickle.loads(pickle.dumps(cut)), cut.flip('vertical').flip('vertical').cut()):
        assert_same(same, expected)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow], max_examples=30)
@given(st.integers(1, 300), st.integers(0, 2**32 - 1))
def test_label_maps(most, seed):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, most, (rng.integers(1, 20), rng.integers(1, 20))) * 7
    assert_same(RunMasks.from_label_map(labels), ImageMasks.from_label_map(torch.from_numpy(labels)))
    assert_same(RunMasks.from_label_map(torch.from_numpy(labels)), ImageMasks.from_label_map(torch.from_numpy(labels)))


@pytest.mark.parametrize('count', [0, 3, 64, 65, 300])
def test_any_number_of_masks(count):
    rng = np.random.default_rng(count)
    masks = ImageMasks.from_masks(torch.from_numpy(rng.random((count, 12, 17)) < 0.3))
    packed = RunMasks.pack(masks)
    assert_same(packed, masks)
    assert_same(packed.crop(2, 3, 5, 6), naive(masks, lambda m: m[:, 2:7, 3:9]))


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow], max_examples=40)
@given(drawn_masks(), st.data())
def test_take(masks, data):
    rows, columns = (
        np.array(data.draw(st.lists(st.integers(0, side - 1), min_size=1, max_size=30))) for side in masks.size
    )
    found = RunMasks.pack(masks).flip('horizontal').take(rows, columns)
    assert_same(found, naive(masks, lambda m: m.flip(2)[:, rows][:, :, columns]))
    assert found.orientation == (False, False, False)


def test_constructors_of_the_parent():
    masks = torch.rand(5, 8, 9) < 0.3
    assert_same(RunMasks.from_masks(masks), ImageMasks.from_masks(masks))
    assert_same(RunMasks.empty(4, 6), ImageMasks.empty(4, 6))
    assert isinstance(RunMasks.empty(4, 6), ImageMasks)


def test_packs_what_is_shown():
    masks = ImageMasks.from_masks(torch.rand(5, 8, 9) < 0.3)
    whole = RunMasks.pack(masks)
    assert RunMasks.pack(whole) is whole
    for turned in (whole.crop(1, 2, 4, 5), whole.flip('horizontal'), whole.transpose()):
        again = RunMasks.pack(turned)
        assert again.window == (0, 0, *turned.size) and not any(again.orientation)
        assert_same(again, turned)


def test_pickles_without_what_was_drawn():
    masks = RunMasks.from_masks(torch.rand(40, 64, 64) < 0.02)
    before = len(pickle.dumps(masks))
    drawn = masks.bitmaps
    assert len(pickle.dumps(masks)) == before
    for copied in (pickle.loads(pickle.dumps(masks)), copy.deepcopy(masks)):
        assert torch.equal(copied.bitmaps, drawn)


def test_what_a_worker_has_cut_is_neither_cut_nor_measured_again(monkeypatch):
    masks = RunMasks.from_masks(torch.rand(40, 64, 64) < 0.02).crop(8, 8, 16, 16).flip('vertical')
    sent = pickle.dumps(masks.cut())
    drawn = masks.bitmaps
    for name in ('crop_runs', 'by_area'):
        monkeypatch.setattr(f'mmsampriors.masks.run_length_masks.{name}', None)
    for masks in (pickle.loads(sent), copy.deepcopy(pickle.loads(sent)), pickle.loads(sent).to('cpu')):
        assert len(masks) == len(drawn) and torch.equal(masks.bitmaps, drawn)


def test_to_changes_the_device_and_nothing_else():
    masks = RunMasks.from_masks(torch.rand(3, 8, 9) < 0.5)
    assert masks.to('cpu') is masks
    assert masks.to('cpu', non_blocking=True) is masks
    moved = masks.to(torch.device('meta'), non_blocking=False)
    assert moved.device.type == 'meta' and moved.scores.device.type == 'meta'


def test_a_window_outside_is_refused():
    masks = RunMasks.empty(8, 9)
    for window in [(-1, 0, 4, 4), (0, 0, 9, 4), (0, 6, 4, 4), (0, 0, 0, 4)]:
        with pytest.raises(ValueError, match='not inside masks of 8x9'):
            masks.crop(*window)
    with pytest.raises(ValueError, match='found .diagonal.'):
        masks.flip('diagonal')


def test_too_wide_images_are_refused():
    with pytest.raises(ValueError, match='65535 columns'):
        RunMasks.from_label_map(np.zeros((1, 65536), np.uint8))
    assert len(RunMasks.from_label_map(np.zeros((1, 65535), np.uint8)).crop(0, 65000, 1, 500)) == 1

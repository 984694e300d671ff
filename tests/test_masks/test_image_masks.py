"""ImageMasks against loops."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mmsampriors.masks import ImageMasks, boxes_of


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 9), st.integers(1, 20), st.integers(1, 20), st.integers(0, 2**32 - 1))
def test_from_masks_measures_drops_and_sorts(count, height, width, seed):
    rng = np.random.default_rng(seed)
    arrays = rng.random((count, height, width)) < rng.random((count, 1, 1)) / 2
    scores, stability = rng.random(count, np.float32), rng.random(count, np.float32)
    masks = ImageMasks.from_masks(*(torch.from_numpy(array) for array in (arrays, scores, stability)))
    order = [index for index in sorted(range(count), key=lambda index: -arrays[index].sum()) if arrays[index].any()]
    assert len(masks) == len(order) and masks.size == (height, width)
    for position, index in enumerate(order):
        rows, columns = np.nonzero(arrays[index])
        assert masks.bitmaps[position].numpy().tolist() == arrays[index].tolist()
        assert masks.boxes[position].tolist() == [columns.min(), rows.min(), columns.max(), rows.max()]
        assert masks.areas[position] == len(rows)
        assert masks.scores[position] == scores[index] and masks.stability[position] == stability[index]


def test_scores_default_to_one():
    masks = ImageMasks.from_masks(torch.ones(2, 3, 4, dtype=torch.bool))
    assert masks.scores.tolist() == masks.stability.tolist() == [1, 1]


def test_label_maps():
    masks = ImageMasks.from_label_map(torch.tensor([[7, 7, 0], [7, 7, 300]]))
    assert masks.bitmaps.int().tolist() == [[[1, 1, 0], [1, 1, 0]], [[0, 0, 1], [0, 0, 0]], [[0, 0, 0], [0, 0, 1]]]
    assert masks.areas.tolist() == [4, 1, 1]


def test_no_masks():
    masks = ImageMasks.empty(5, 6)
    assert len(masks) == 0 and masks.size == (5, 6)
    assert masks.boxes.shape == (0, 4) and masks.areas.shape == (0,)


def test_to_moves_everything():
    masks = ImageMasks.from_masks(torch.ones(2, 3, 4, dtype=torch.bool)).to('meta', non_blocking=True)
    devices = {getattr(masks, name).device.type for name in ('bitmaps', 'scores', 'stability', 'boxes', 'areas')}
    assert devices == {'meta'}


def test_boxes_include_the_last_row_and_column():
    mask = torch.zeros(1, 6, 8, dtype=torch.bool)
    mask[0, 2:5, 3:8] = True
    assert boxes_of(mask).tolist() == [[3, 2, 7, 4]]


@pytest.mark.parametrize('masks', [torch.zeros(2, 3), torch.zeros(1, 2, 3, dtype=torch.uint8)])
def test_what_are_no_masks_is_refused(masks):
    with pytest.raises(ValueError, match=r'bool of shape \(K, H, W\), found'):
        ImageMasks.from_masks(masks)

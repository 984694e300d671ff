import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mmsampriors.evaluation import agreement
from mmsampriors.masks import ImageMasks, image_masks, pairwise_iou


def random_masks(count, height, width, seed):
    masks = np.random.default_rng(seed).random((count, height, width)) < 0.4
    return ImageMasks.from_masks(torch.from_numpy(masks))


def best_iou_by_loops(ours, theirs):
    best = []
    for a in ours.bitmaps.numpy():
        best.append(max(np.logical_and(a, b).sum() / np.logical_or(a, b).sum() for b in theirs.bitmaps.numpy()))
    return sum(best) / len(best)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 6), st.integers(1, 6), st.integers(1, 9), st.integers(1, 9), st.integers(0, 10**6))
def test_agreement_matches_loops_over_masks(many, few, height, width, seed):
    ours, theirs = random_masks(many, height, width, seed), random_masks(few, height, width, seed + 1)
    found = agreement(ours, theirs)
    if len(ours) and len(theirs):
        forth, back = best_iou_by_loops(ours, theirs), best_iou_by_loops(theirs, ours)
        assert found == pytest.approx((forth, back, (forth + back) / 2), abs=1e-12)
    assert agreement(theirs, ours) == pytest.approx((found.back, found.forth, found.mean), abs=1e-12)


def test_products_in_parts_are_the_whole_product(monkeypatch):
    ours, theirs = random_masks(5, 13, 17, 0).bitmaps, random_masks(3, 13, 17, 1).bitmaps
    whole = pairwise_iou(ours, theirs)
    monkeypatch.setattr(image_masks, 'PIXELS', 10)
    assert torch.equal(pairwise_iou(ours, theirs), whole)


def test_empty_sets_agree_with_each_other_and_with_nothing_else():
    empty, some = ImageMasks.empty(4, 5), random_masks(3, 4, 5, 0)
    assert agreement(empty, empty) == (1, 1, 1)
    assert agreement(empty, some) == agreement(some, empty) == (0, 0, 0)
    assert agreement(some, some) == (1, 1, 1)


def test_masks_of_images_of_two_sizes_are_refused():
    with pytest.raises(ValueError, match=r'different sizes cannot agree: \(4, 5\) and \(5, 4\)'):
        agreement(ImageMasks.empty(4, 5), ImageMasks.empty(5, 4))

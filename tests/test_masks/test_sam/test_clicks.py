"""The mask under a click against segment_anything's predictor, and the other families' own."""

import itertools

import numpy as np
import pytest
import torch
from segment_anything import SamPredictor
from small_sam import SIDE, small_sam
from test_engine import photographs
from test_family import built

from mmsampriors.demo.segmenter import mask_at, see
from mmsampriors.masks import MaskEngine
from mmsampriors.masks.sam.ops import resized_shape, to_encoder

CLICKS = [(3, 5), (20, 11), (32, 32)]


def stock_predictor(sam, image):
    """segment_anything's, on the engine's own input: PIL rounds halves in another way."""
    predictor = SamPredictor(sam)
    height, width = resized_shape(image.shape[1:], SIDE)
    ready = to_encoder([image.float()], sam, SIDE)[:, :, :height, :width]
    predictor.set_torch_image(ready * sam.pixel_std + sam.pixel_mean, tuple(image.shape[1:]))
    return predictor


def best_of(masks, scores):
    return torch.from_numpy(masks[scores.argmax()] > 0), float(scores.max())


@pytest.mark.parametrize('size', [(90, 131), (64, 64), (33, 47)])
def test_same_mask_as_stock(size):
    sam, (image,) = small_sam(), photographs([size])
    engine, predictor = MaskEngine(sam), stock_predictor(sam, image)
    seen, areas = see(engine, image), []
    for x, y in CLICKS:
        mask, score = mask_at(engine, seen, x, y)
        expected, theirs = best_of(*predictor.predict(np.array([[x, y]]), np.array([1]))[:2])
        assert mask.shape == size and mask.dtype == torch.bool
        assert (mask != expected).float().mean() < 2e-3 and score == pytest.approx(theirs, abs=1e-4)
        areas.append(mask.sum().item())
    assert len(set(areas)) == len(CLICKS)  # masks that depend on the click


@pytest.mark.parametrize('name', ['hq_vit', 'sam2'])
def test_other_families_give_a_mask_of_the_image(name):
    """The engine's own masks are those of the packages (test_family); a click is one of its prompts."""
    sam, (image,) = built(name)[0], photographs([(90, 131)])
    side = 4
    engine = MaskEngine(sam, points_per_side=side, pred_iou_thresh=0.0, stability_score_thresh=0.0, box_nms_thresh=1.0)
    everything, seen = engine.generate([image])[0], see(engine, image)
    compared = 0
    for row, column in itertools.product(range(side), repeat=2):
        # the grid's point in pixels of the image
        mask, score = mask_at(engine, seen, 131 * (column + 0.5) / side, 90 * (row + 0.5) / side)
        if mask.any():
            compared += 1
            same = (everything.bitmaps == mask).flatten(1).float().mean(1) > 0.999
            assert (everything.scores[same] - score).abs().min() < 1e-3
    assert compared > side


def test_a_click_outside_is_refused():
    engine, (image,) = MaskEngine(small_sam()), photographs([(20, 30)])
    seen = see(engine, image)
    for x, y in [(30, 5), (5, 20), (-1, 5)]:
        with pytest.raises(ValueError, match=f'the point .{x}, {y}. is outside the image of 30x20 pixels'):
            mask_at(engine, seen, x, y)

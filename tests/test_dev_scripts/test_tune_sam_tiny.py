"""Choosing settings of automatic masks for the small SAM: what a setting picks, and how that is judged."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / '.dev_scripts'))

import tune_sam_tiny as tune  # noqa: E402

from mmsampriors.masks import ImageMasks  # noqa: E402
from tiny_sam_training.borders import border_map  # noqa: E402

LABELS = np.repeat([[1, 2]], 20, 1).repeat(20, 0)  # two halves, (20, 40)


@pytest.fixture
def photograph():
    """Both halves, one a second time with a lower score, and all of the image as a mask that is not stable."""
    halves = torch.from_numpy(LABELS[None] == np.array([1, 2, 1])[:, None, None])
    bitmaps = torch.cat([halves, torch.ones(1, *LABELS.shape, dtype=torch.bool)])
    boxes = torch.tensor([[0, 0, 19, 19], [20, 0, 39, 19], [0, 0, 19, 19], [0, 0, 39, 19]])
    scores, stability = torch.tensor([0.9, 0.5, 0.4, 0.8]), torch.tensor([0.9, 0.9, 0.9, 0.3])
    found = ImageMasks(bitmaps, scores, stability, boxes, bitmaps.flatten(1).sum(1))
    everyone = bitmaps[:2].numpy()
    ious = tune.iou_matrix(everyone, bitmaps.numpy())
    return found, ious, ious, border_map(everyone)


def setting(iou, stability, overlap=0.7):
    return dict(pred_iou_thresh=iou, stability_score_thresh=stability, box_nms_thresh=overlap)


@pytest.mark.parametrize(
    'values, expected', [((0.3, 0.2), [0, 3, 1]), ((0.3, 0.5), [0, 1]), ((0.6, 0.2), [0, 3]), ((0.95, 0.2), [])]
)
def test_thresholds_and_suppression_pick(photograph, values, expected):
    assert tune.picked(photograph[0], setting(*values)).tolist() == expected


def test_the_two_halves_are_the_best(photograph):
    assert tune.figures([photograph], setting(0.3, 0.5)) == dict(overlap=1, boundary_f=1, masks_per_segment=1)
    with_all = tune.figures([photograph], setting(0.3, 0.2))
    assert with_all['overlap'] == pytest.approx((1 + 2.5 / 3) / 2) and with_all['masks_per_segment'] == 1.5
    assert tune.figures([photograph], setting(0.95, 0.2)) == dict(overlap=0, boundary_f=0, masks_per_segment=0)

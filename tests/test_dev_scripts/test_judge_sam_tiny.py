"""The judge of the small SAM: figures of segmenters whose figures are known."""

import importlib.util
import json
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

TOOLS = Path(__file__).resolve().parents[2] / '.dev_scripts'
PATH = TOOLS / 'judge_sam_tiny.py'


@pytest.fixture(scope='module')
def judge():
    sys.path.insert(0, str(TOOLS))
    spec = importlib.util.spec_from_file_location('judge_sam_tiny', PATH)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def pairs(tmp_path):
    labels = np.ones((40, 60), np.uint8)
    labels[:, 30:] = 2
    labels[:3, :3] = 3  # 9 of 2400 pixels: under one per cent
    cv2.imwrite(str(tmp_path / 'a.jpg'), np.repeat(labels[..., None] * 60, 3, 2))
    cv2.imwrite(str(tmp_path / 'a.png'), labels)
    return [(tmp_path / 'a.jpg', tmp_path / 'a.png')]


class Human:
    """Answers with the human's own segments."""

    labels = np.pad(np.full((40, 30), 2), ((0, 0), (30, 0)), constant_values=1)

    def clicks(self, image, points):
        return [self.labels[None] == self.labels[y, x] for x, y in points]

    def masks(self, image):
        return self.labels[None] == np.array([1, 2])[:, None, None]


class Nothing(Human):
    """Finds no automatic masks."""

    def masks(self, image):
        return np.zeros((0, 40, 60), bool)


def test_the_human_is_judged_perfect_but_for_the_speck(judge, pairs):
    figures = judge.judge(Human(), pairs, smallest=0.01)
    expected = [1191 / 1200, 1.0]
    for key in ('one_click', 'human_to_masks', 'masks_to_human'):
        assert sorted(figures[key]) == pytest.approx(expected)


def test_the_whole_image_overlaps_by_the_share_of_the_segment(judge, pairs):
    figures = judge.judge(judge.WholeImage(), pairs, smallest=0.01)
    assert sorted(figures['one_click']) == pytest.approx([1191 / 2400, 0.5])
    assert figures['masks_to_human'] == pytest.approx([0.5])


def test_no_masks_are_no_overlap_and_no_count(judge, pairs):
    figures = judge.judge(Nothing(), pairs, smallest=0.01)
    assert figures['human_to_masks'] == [0, 0] and figures['masks_to_human'] == []
    lines = {line['name']: line for line in map(json.loads, map(json.dumps, judge.report('nothing', figures, 1)))}
    assert lines['nothing/overlap'] == dict(name='nothing/overlap', mean=0.0, unit='IoU', photographs=1)
    assert lines['nothing/one_click']['count'] == 2
    for key in ('boundary_f', 'masks_per_segment', 'masks_per_large_segment', 'borders_on_grid'):
        assert lines[f'nothing/{key}']['mean'] == 0


def test_all_measures_are_reported(judge, pairs):
    lines = {line['name']: line['mean'] for line in judge.report('human', judge.judge(Human(), pairs, 0.01), 1)}
    assert lines['human/overlap'] == pytest.approx((1 + 1191 / 1200) / 2, abs=1e-3)
    assert lines['human/boundary_f'] > 0.9  # the speck has a border too
    assert lines['human/masks_per_segment'] == pytest.approx(2 / 3, abs=1e-4)
    assert lines['human/masks_per_large_segment'] == 1
    # The border between columns 29 and 30 is in the middle of the SAM's input, and on the grid as 11 of 59 such lines.
    assert lines['human/borders_on_grid'] == pytest.approx(59 / 11, abs=1e-3)
    assert 0 <= lines['human/seconds'] < 1


@given(st.integers(1, 4), st.integers(1, 4), st.integers(0, 1000))
@settings(max_examples=20, deadline=None)
def test_iou_matrix_against_a_loop(judge, a_count, b_count, seed):
    rng = np.random.default_rng(seed)
    a, b = rng.random((a_count, 6, 7)) < 0.5, rng.random((b_count, 6, 7)) < 0.5
    for row, x in zip(judge.iou_matrix(a, b), a):
        assert row == pytest.approx([(x & y).sum() / max(1, (x | y).sum()) for y in b])


def test_the_inscribed_center_is_the_farthest_from_the_border(judge):
    mask = np.zeros((50, 70), bool)
    mask[5:26, 10:31] = mask[30:35, :] = True
    assert judge.inscribed_center(mask) == (20, 15)

"""The measures of mask borders that the judge of the small SAM takes."""

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / '.dev_scripts'))

from tiny_sam_training.borders import border_map, borders_on_grid, boundary_f  # noqa: E402


def square(top, left, side, shape=(96, 128)):
    mask = np.zeros((1, *shape), bool)
    mask[0, top : top + side, left : left + side] = True
    return mask


def test_border_pixels_are_those_before_a_step():
    found = border_map(square(10, 20, 5, (30, 40)))
    assert found[12, 19] and found[12, 24] and found[9, 22] and found[14, 22]
    assert not found[12, 20] and not found[12, 22] and not found[0, 0]
    assert not border_map(np.ones((2, 30, 40), bool)).any()


@pytest.mark.parametrize('moved, expected', [(0, 1), (3, 1), (8, 0)])
def test_borders_may_be_three_pixels_away(moved, expected):
    strip = np.zeros((1, 40, 60), bool)
    strip[:, :, :20] = True
    other = np.roll(strip, moved, 2)
    other[:, :, :5] = True
    assert boundary_f(border_map(strip), border_map(other), 3) == expected


def test_borders_that_nobody_drew_cost_precision():
    strip = np.zeros((1, 40, 60), bool)
    strip[:, :, :20] = True
    both = np.concatenate([strip, np.roll(strip, 20, 2)])
    # A half of what was found is right (the rolled strip has two borders, one of them shared), and all of the truth.
    assert boundary_f(border_map(both), border_map(strip), 3) == pytest.approx(2 * 0.5 / 1.5)
    assert boundary_f(border_map(both[:0]), border_map(strip), 3) == 0


def test_blocks_lie_on_the_grid():
    on, expected, total = borders_on_grid(square(32, 48, 32), side=128)
    assert on == total == 4 * 32
    assert expected == pytest.approx(64 * 5 / 95 + 64 * 7 / 127)  # 5 of 95 lines between rows, 7 of 127


def test_other_masks_lie_on_it_by_chance():
    rng = np.random.default_rng(0)
    masks = np.concatenate([square(*rng.integers(0, 60, 2), rng.integers(5, 30)) for _ in range(600)])
    for side in (128, 100, 384):
        on, expected, _ = borders_on_grid(masks, side)
        assert on / expected == pytest.approx(1, abs=0.2)


def test_the_grid_is_that_of_the_resized_image():
    on, _, total = borders_on_grid(square(12, 24, 12), side=256)  # doubled: lines at 24, 48
    assert 0 < on < total
    on, _, total = borders_on_grid(square(8, 24, 8), side=256)
    assert on == total

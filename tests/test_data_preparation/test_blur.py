import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.ndimage import correlate

from mmsampriors.data_preparation.degradations import add_blur, shake_kernel, shake_path


def rng(seed=0):
    return np.random.default_rng(seed)


@given(st.integers(0, 1000), st.floats(0, 60), st.floats(0, 400))
def test_path_has_its_length_and_all_of_the_exposure(seed, length, turn):
    path, dwell = shake_path(rng(seed), length=length, turn=turn)
    travelled = np.linalg.norm(np.diff(path, axis=0), axis=1).sum()
    assert travelled == pytest.approx(length, rel=0.02) and dwell.min() > 0 and dwell.sum() == pytest.approx(1)


@given(st.integers(0, 1000), st.floats(0, 40), st.floats(0, 400))
def test_kernel_is_the_path_spread_over_the_pixels(seed, length, turn):
    kernel = shake_kernel(rng(seed), length=length, turn=turn)
    path, dwell = shake_path(rng(seed), length=length, turn=turn)
    path = path - (path * dwell[:, None]).sum(axis=0)
    reach = len(kernel) // 2
    expected = np.zeros(kernel.shape)
    for row in range(len(kernel)):
        for column in range(len(kernel)):
            distance = np.abs(path - (column - reach, row - reach))
            expected[row, column] = (dwell * np.clip(1 - distance, 0, None).prod(axis=1)).sum()
    np.testing.assert_allclose(kernel, expected, atol=1e-6)
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    assert kernel.sum() == pytest.approx(1, abs=1e-5)
    assert (kernel * x).sum() == pytest.approx(0, abs=1e-3) and (kernel * y).sum() == pytest.approx(0, abs=1e-3)


def test_without_turning_the_path_is_straight_and_with_it_it_is_not():

    def reach(turn, seed):
        path, _ = shake_path(rng(seed), length=30, turn=turn)
        return np.linalg.norm(path[-1] - path[0])

    assert all(reach(0, seed) == pytest.approx(30, rel=0.01) for seed in range(5))
    assert np.mean([reach(300, seed) for seed in range(20)]) < 22


def test_blur_averages_light_in_linear_intensities():
    image = rng(5).random((40, 50, 3)).astype(np.float32)
    blurred = add_blur(image, rng(1), length=12, turn=90)
    generator = rng(1)
    generator.random(2)  # the draws of the two settings
    kernel = shake_kernel(generator, length=12, turn=90).astype(np.float64)
    linear = np.stack([correlate(image[..., c].astype(np.float64) ** 2.2, kernel, mode='mirror') for c in range(3)], -1)
    np.testing.assert_allclose(blurred, linear ** (1 / 2.2), atol=1e-4)
    assert blurred.dtype == np.float32


def test_flat_images_and_resting_cameras_change_nothing():
    flat = np.full((40, 40, 3), 0.3, np.float32)
    np.testing.assert_allclose(add_blur(flat, rng(), length=20), flat, atol=1e-5)
    image = rng(5).random((20, 20, 3)).astype(np.float32)
    np.testing.assert_allclose(add_blur(image, rng(), length=0), image, atol=1e-4)


def test_an_image_smaller_than_the_kernel_is_refused():
    with pytest.raises(ValueError, match=r'50x10 pixels is smaller than the blur kernel \(\d+ pixels'):
        add_blur(np.zeros((10, 50, 3)), rng(), length=40, turn=0)

import numpy as np
import pytest

from mmsampriors.data_preparation.degradations import (
    add_camera_noise,
    bayer_mosaic,
    colour_matrix,
    demosaiced,
    sensor_noise,
)


def noise_of(level, seed=0, **settings):
    grey = np.full((128, 128, 3), level, np.float32)
    return add_camera_noise(grey, np.random.default_rng(seed), **settings) - grey


def test_almost_no_light_is_lost_without_noise_and_jpeg():
    rows, columns = np.mgrid[0:64, 0:64] / 63
    smooth = np.stack([rows, columns, (rows + columns) / 2], axis=2).astype(np.float32)
    kept = add_camera_noise(smooth, np.random.default_rng(0), iso=25, quality=100)
    assert np.abs(kept - smooth).mean() < 1.5 / 255 and kept.dtype == np.float32


def test_variance_in_the_sensor_grows_with_light_and_sensitivity():
    def variance(light, iso):
        return sensor_noise(np.full((300, 300), light, np.float32), np.random.default_rng(0), iso).var()

    assert variance(0.5, 400) - variance(0.1, 400) == pytest.approx(0.4 * 1e-4, rel=0.05)
    assert variance(0.5, 1600) > 3.5 * variance(0.5, 400)


def test_more_sensitivity_is_more_noise():
    levels = [noise_of(0.4, iso=iso, quality=95).std() for iso in (200, 1600, 6400)]
    assert levels[0] * 1.5 < levels[1] and levels[1] * 1.5 < levels[2]


def test_noise_is_correlated_between_neighbours():
    noise = noise_of(0.4, iso=3200, quality=100)
    near, far = (np.corrcoef(noise[:, step:].ravel(), noise[:, :-step].ravel())[0, 1] for step in (1, 8))
    assert near > 0.4 and abs(far) < 0.15


def test_each_pixel_sees_one_colour_and_demosaicing_keeps_it():
    rng = np.random.default_rng(1)
    mosaic, seen = bayer_mosaic((20, 30), rng), rng.random((20, 30), np.float32)
    filled = demosaiced(seen, mosaic)
    np.testing.assert_array_equal(mosaic.sum(axis=2), 1)
    np.testing.assert_allclose((filled * mosaic).sum(axis=2), seen, rtol=1e-6)
    np.testing.assert_allclose(demosaiced(np.ones((20, 30), np.float32), mosaic), 1)


@pytest.mark.parametrize('saturation', [0, 0.6, 2])
def test_colour_matrix_keeps_greys_and_its_inverse_keeps_the_range(saturation):
    matrix = colour_matrix(np.random.default_rng(2), saturation)
    np.testing.assert_allclose(matrix.sum(axis=1), 1, rtol=1e-5)
    assert np.linalg.inv(matrix).min() >= -1e-6


def test_is_a_function_of_its_seed_in_the_range_of_a_file():
    image = np.random.default_rng(0).random((33, 47, 3)).astype(np.float32)
    first, again, other = (add_camera_noise(image, np.random.default_rng(seed)) for seed in (3, 3, 4))
    np.testing.assert_array_equal(first, again)
    assert first.shape == image.shape and (first != other).any() and 0 <= first.min() and first.max() <= 1

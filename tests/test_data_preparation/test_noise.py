import numpy as np
import pytest

from mmsampriors.data_preparation.degradations import add_noise


def noise_of(level, seed=0, **settings):
    grey = np.full((200, 200, 3), level, np.float32)
    return add_noise(grey, np.random.default_rng(seed), **settings) - grey


@pytest.mark.parametrize(
    'level, settings, variance',
    [
        (0.5, dict(sigma=25), (25 / 255) ** 2),
        (0.5, dict(sigma=15), (15 / 255) ** 2),
        (0.5, dict(sigma=0, peak=100), 0.5 / 100),
        (0.25, dict(sigma=0, peak=100), 0.25 / 100),
        (0.4, dict(sigma=10, peak=200), 0.4 / 200 + (10 / 255) ** 2),
    ],
)
def test_noise_has_no_bias_and_the_variance_of_the_model(level, settings, variance):
    noise = noise_of(level, **settings)
    assert noise.mean() == pytest.approx(0, abs=4 * np.sqrt(variance / noise.size))
    assert noise.var() == pytest.approx(variance, rel=0.03)


def test_noise_is_white_and_independent_between_channels():
    noise = noise_of(0.5, sigma=25)
    channels = np.corrcoef(noise.reshape(-1, 3).T)
    neighbours = np.corrcoef(noise[:, 1:].ravel(), noise[:, :-1].ravel())
    assert np.abs(channels - np.eye(3)).max() < 0.02 and abs(neighbours[0, 1]) < 0.02


def test_blind_range_draws_another_strength_an_image():
    strengths = [noise_of(0.5, seed, sigma=(0, 50)).std() * 255 for seed in range(20)]
    assert min(strengths) < 12 and max(strengths) > 38 and max(strengths) < 51


def test_no_noise_changes_nothing_and_results_are_clipped():
    image = np.random.default_rng(0).random((20, 30, 3)).astype(np.float32)
    np.testing.assert_array_equal(add_noise(image, np.random.default_rng(0), sigma=0), image)
    noisy = add_noise(image, np.random.default_rng(0), sigma=200, peak=5)
    assert (noisy.min(), noisy.max(), noisy.dtype) == (0, 1, np.float32)
    np.testing.assert_array_equal(noisy, add_noise(image, np.random.default_rng(0), sigma=200, peak=5))

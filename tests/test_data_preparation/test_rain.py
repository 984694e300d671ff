import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmsampriors.data_preparation.degradations import AIRLIGHT, add_rain, draw_streaks, streak_kernel

MIDDLE = dict(angle=20, length=20, width=1.5, density=0.1, brightness=0.7)


def rng(seed=0):
    return np.random.default_rng(seed)


def photograph(size=(60, 80)):
    return rng(7).random((*size, 3)).astype(np.float32)


@given(st.floats(-90, 90), st.floats(2, 30), st.floats(0.5, 4))
def test_streak_kernel_matches_the_profile_pixel_by_pixel(angle, length, width):
    kernel = streak_kernel(angle, length, width)
    sigma = math.sqrt((width / (2 * math.sqrt(2 * math.log(2)))) ** 2 + 1 / 12)
    for row in range(kernel.shape[0]):
        for column in range(kernel.shape[1]):
            y, x = row - kernel.shape[0] // 2, column - kernel.shape[1] // 2
            along = x * math.sin(math.radians(angle)) + y * math.cos(math.radians(angle))
            across_squared = x * x + y * y - along**2
            inside = abs(along) < length / 2
            fade = math.sqrt(max(0, math.cos(math.pi * along / length))) if inside else 0
            expected = fade * math.exp(-across_squared / (2 * sigma**2))
            # The fade has a vertical tangent at the tip, where rounding of the position shows.
            assert kernel[row, column] == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize('angle', [-60, -20, 0, 35, 70])
def test_streaks_point_where_the_rain_falls(angle):
    streaks = draw_streaks((150, 150), rng(), **{**MIDDLE, 'angle': angle, 'density': 0.02})
    # The strongest wave of an image of parallel streaks runs across them: compare the spectrum's main axis.
    spectrum = np.abs(np.fft.fftshift(np.fft.fft2(streaks - streaks.mean()))) ** 2
    y, x = np.mgrid[-75:75, -75:75]
    axis = 0.5 * np.arctan2(2 * (spectrum * x * y).sum(), (spectrum * (x**2 - y**2)).sum())
    found = -np.rad2deg(axis)
    assert abs((found - angle + 90) % 180 - 90) < 6


def test_more_density_is_proportionally_more_rain():
    thin, thick = (draw_streaks((400, 400), rng(), **{**MIDDLE, 'density': density}).mean() for density in (0.01, 0.04))
    assert thick / thin == pytest.approx(4, rel=0.15)


def test_density_is_the_share_of_the_image_that_streaks_cover():
    # A streak holds length times width times about 0.82 (its faded ends and soft sides), of 0.625 mean opacity.
    streaks = draw_streaks((500, 500), rng(), **{**MIDDLE, 'brightness': 1, 'density': 0.05, 'width': 3})
    assert streaks.mean() == pytest.approx(0.05 * 0.82 * 0.625, rel=0.1)


def test_streaks_are_a_screen_over_the_image_and_enter_from_outside():
    settings = dict(**MIDDLE, veiling=0)
    streaks = add_rain(np.zeros((60, 80, 3)), rng(), **settings)
    assert streaks.max() <= 0.7 + 1e-6 and streaks[0].max() > 0.1 and streaks[:, -1].max() > 0.1
    image = photograph()
    before = image.copy()
    rainy = add_rain(image, rng(), **settings)
    np.testing.assert_allclose(rainy, 1 - (1 - image) * (1 - streaks), atol=1e-6)
    np.testing.assert_array_equal(image, before)
    assert rainy.dtype == np.float32


def test_veil_mixes_with_the_airlight():
    image = photograph()
    np.testing.assert_allclose(add_rain(image, rng(), density=0, veiling=0), image, atol=1e-7)
    veiled = add_rain(image, rng(), density=0, veiling=0.3)
    np.testing.assert_allclose(veiled, 0.7 * image + 0.3 * AIRLIGHT, atol=1e-6)


def test_is_a_function_of_the_generator_and_stays_in_range():
    image = photograph()
    heavy = dict(density=2, brightness=1, veiling=1, length=200)
    for settings in ({}, heavy):
        rainy = add_rain(image, rng(1), **settings)
        np.testing.assert_array_equal(rainy, add_rain(image, rng(1), **settings))
        assert not np.array_equal(rainy, add_rain(image, rng(2), **settings)) or settings is heavy
        assert rainy.min() >= 0 and rainy.max() <= 1


def test_unknown_and_impossible_settings_are_refused():
    with pytest.raises(TypeError, match='thickness'):
        add_rain(photograph(), rng(), thickness=3)
    with pytest.raises(ValueError, match='brightness must lie within 0 and 1'):
        add_rain(photograph(), rng(), brightness=2)

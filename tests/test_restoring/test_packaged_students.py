"""The students that travel with the package."""

import numpy as np
import pytest
import skimage.data

from mmsampriors import Restorer
from mmsampriors.data_preparation.degradations import add_blur, add_noise, add_rain
from mmsampriors.restoring.students import FOLDER, packaged_students, weights_of_packaged

DEGRADE = dict(
    rain=lambda image, rng: add_rain(image, rng, density=0.2, brightness=0.7, veiling=0.0),
    noise=lambda image, rng: add_noise(image, rng, sigma=25),
    blur=lambda image, rng: add_blur(image, rng, length=7),
)
#: Decibels that it must gain on a photograph that it has not seen.
GAINS = dict(rain=5.0, noise=5.0, blur=0.5)


def test_there_are_some():
    assert packaged_students() and set(packaged_students()) <= set(DEGRADE)


@pytest.mark.parametrize('name', packaged_students())
def test_restores_what_its_name_says(name):
    truth = skimage.data.coffee()
    degraded = DEGRADE[name](truth / 255, np.random.default_rng(3))
    degraded = (255 * degraded).round().clip(0, 255).astype(np.uint8)
    restored = Restorer(name, device='cpu').restore(degraded)
    before, after = (-10 * np.log10(np.mean((image / 255 - truth / 255) ** 2)) for image in (degraded, restored))
    assert restored.shape == truth.shape and after - before > GAINS[name]


@pytest.mark.parametrize('name', packaged_students())
def test_is_small_and_on_its_card(name):
    assert weights_of_packaged(name).stat().st_size <= 2 * 10**6
    assert f'| `{name}` |' in (FOLDER / 'README.md').read_text()
    config = weights_of_packaged(name).with_suffix('.py').read_text()
    assert '/tmp/' not in config and str(FOLDER.parents[2]) not in config


def test_another_name_is_refused_with_those_that_there_are():
    with pytest.raises(ValueError, match=f'one of the package: {", ".join(packaged_students())}; found snow'):
        Restorer('snow')

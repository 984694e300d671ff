"""Which pairs show one scene: degradations do not trip the rule, and turned or exchanged images do."""

import cv2
import numpy as np
import pytest
import skimage.data

from mmsampriors.checks.same_scene import TURNS, mismatch
from mmsampriors.data_preparation.degradations import add_blur, add_noise, add_rain

NAMES = ('astronaut', 'chelsea', 'coffee', 'rocket', 'cat')
STRONG = {
    'rain': (add_rain, dict(density=0.5, brightness=0.8, veiling=0.2)),
    'opaque rain': (add_rain, dict(density=1.0, brightness=1.0, veiling=0.2, width=4.0)),
    'sigma 75': (add_noise, dict(sigma=75)),
    'sigma 200': (add_noise, dict(sigma=200)),
    'blur': (add_blur, dict(length=60)),
    'night': (lambda image, rng: add_noise(image**4, rng, sigma=25), {}),
}


def photograph(name, size=(192, 128)):
    return cv2.resize(getattr(skimage.data, name)(), size, interpolation=cv2.INTER_AREA)


def degraded(target, kind):
    degrade, settings = STRONG[kind]
    image = degrade(target / np.float32(255), np.random.default_rng(0), **settings)
    return (image * 255).round().astype(np.uint8)


@pytest.mark.parametrize('kind', STRONG)
@pytest.mark.parametrize('name', NAMES)
def test_strong_degradations_pass_and_are_seen_when_turned(name, kind):
    target = photograph(name)
    image = degraded(target, kind)
    assert mismatch(image, target) is None
    assert mismatch(image[..., :1], target) is None
    if kind != 'opaque rain':
        found = mismatch(image, np.ascontiguousarray(target[::-1, ::-1]))
        assert found.startswith('show the same scene only when one is rotated by 180 degrees: PSNR is')


@pytest.mark.parametrize('turn', TURNS)
def test_each_rotation_and_flip_is_named(turn):
    target = photograph('astronaut', (128, 128))
    found = mismatch(degraded(target, 'sigma 75'), np.ascontiguousarray(TURNS[turn](target)))
    assert f'only when one is {turn}' in found


def test_other_photographs_are_no_pairs():
    found = [mismatch(photograph(one), photograph(other)) for one in NAMES[:4] for other in NAMES[:4] if one != other]
    assert sum(message is not None for message in found) >= 6
    assert all(message.startswith('do not show the same scene: PSNR is') for message in found if message)


def test_flat_images_are_not_judged():
    image = photograph('coffee', (48, 32))
    flat = np.full((32, 48, 3), round(image.mean()) + 50, np.uint8)
    assert mismatch(image, flat) is None
    assert 'ground truth is of one colour' in mismatch(image, np.full_like(flat, 255 * (image.mean() < 128)))

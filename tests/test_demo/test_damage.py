"""Damage of a chosen severity."""

import numpy as np
import pytest

from mmsampriors.demo.scene import KINDS, MOST_SEVERE, damaged, describe, sample, settings_of
from mmsampriors.images import psnr


@pytest.fixture(scope='module')
def clean():
    return sample('cat')


@pytest.mark.parametrize('kind', KINDS)
def test_more_severe_is_further_from_clean(kind, clean):
    found = [psnr(damaged(clean, kind, severity), clean) for severity in (1, 4, 7, MOST_SEVERE)]
    assert found == sorted(found, reverse=True) and found[0] > found[-1] + 6


def test_noise_is_of_the_sigma_that_it_says(clean):
    gray = np.full((200, 200, 3), 128, np.uint8)
    assert psnr(damaged(gray, 'noise', 5), gray) == pytest.approx(20 * np.log10(255 / 25), abs=0.1)
    assert 'σ 25' in describe('noise', 5)


@pytest.mark.parametrize('kind', KINDS)
def test_the_same_again(kind, clean):
    before = clean.copy()
    made = damaged(clean, kind, 5)
    assert made.dtype == np.uint8 and made.shape == clean.shape and (made == damaged(clean, kind, 5)).all()
    assert (clean == before).all()


def test_what_is_refused(clean):
    with pytest.raises(ValueError, match='severity is 1 to 10, found 11'):
        settings_of('rain', 11)
    with pytest.raises(ValueError, match="damage is one of .*found 'snow'"):
        settings_of('snow', 3)
    with pytest.raises(ValueError, match='is smaller than the blur kernel'):
        damaged(clean[:8, :8], 'blur', 10)

import numpy as np
import pytest
from mmagic.datasets.transforms import MATLABLikeResize

from mmsampriors.data_preparation.degradations import LowresSettings, make_lowres


def photograph(height=48, width=60):
    return np.random.default_rng(0).random((height, width, 3)).astype(np.float32)


def made(**settings):
    return make_lowres(photograph(), np.random.default_rng(0), **settings)


@pytest.mark.parametrize('scale', [2, 3, 4])
def test_reduces_as_mmagic_does_after_matlab(scale):
    wanted = MATLABLikeResize(keys=['img'], scale=1 / scale)(dict(img=photograph().astype(float)))['img']
    np.testing.assert_allclose(made(scale=scale), wanted.clip(0, 1), atol=1e-6)


def test_blur_noise_and_jpeg_come_on_top():
    plain = made(scale=2)
    assert made(scale=2, blur=2).std() < 0.7 * plain.std()
    noise = made(scale=2, noise=10) - plain
    assert noise.std() == pytest.approx(10 / 255, rel=0.1)
    jpeg = [np.abs(made(scale=2, jpeg=quality) - plain).mean() for quality in (95, 30)]
    assert 0 < jpeg[0] < jpeg[1] < 0.3 and made(scale=2, jpeg=(30, 95)).dtype == np.float32


@pytest.mark.parametrize('scale', [2.5, (2, 4), 1])
def test_a_scale_that_is_no_whole_number_from_2_up_is_refused(scale):
    with pytest.raises(ValueError, match='scale (takes one whole number|must lie within 2 and 16)'):
        LowresSettings(scale=scale)

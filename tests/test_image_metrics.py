"""PSNR of arrays."""

import numpy as np
import pytest
from skimage.metrics import peak_signal_noise_ratio

from mmsampriors.images import psnr


@pytest.mark.parametrize('dtype, peak', [(np.uint8, 255), (np.uint16, 65535), (np.float32, 1)])
def test_psnr_is_that_of_scikit_image(dtype, peak):
    one, other = (np.random.default_rng(seed).random((9, 8, 3)) * peak for seed in (0, 1))
    one, other = one.astype(dtype), other.astype(dtype)
    assert psnr(one, other, peak) == pytest.approx(peak_signal_noise_ratio(one, other, data_range=peak))
    assert psnr(one, one) == float('inf')

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmsampriors.datasets.deterministic_loader import SampleIndex
from mmsampriors.datasets.transforms import PadToPatch, mirror_to


def mirrored_place(place, size):
    """Where a ray ends that starts at 0 and turns round at every edge: 0 1 2 2 1 0 0 1 ... for size 3."""
    place %= 2 * size
    return place if place < size else 2 * size - 1 - place


@given(st.integers(1, 7), st.integers(1, 7), st.integers(1, 20))
def test_mirrors_at_the_right_and_bottom_however_small_the_image(height, width, size):
    image = np.arange(height * width * 2).reshape(height, width, 2)
    result = mirror_to(image, size)
    assert result.shape == (max(height, size), max(width, size), 2)
    for row in range(result.shape[0]):
        for column in range(result.shape[1]):
            expected = image[mirrored_place(row, height), mirrored_place(column, width)]
            np.testing.assert_array_equal(result[row, column], expected)


def sample(img, gt, patch_size=16):
    return dict(sample_idx=SampleIndex(0, patch_size), img=img, gt=gt, img_path='input/a.png', gt_path='target/a.png')


def test_extends_both_images_alike_and_leaves_large_ones_alone():
    small = np.random.default_rng(0).integers(256, size=(10, 30, 3), dtype=np.uint8)
    results = PadToPatch().transform(sample(small, small.copy()))
    assert results['img'].shape == (16, 30, 3) and results['img'].dtype == np.uint8
    np.testing.assert_array_equal(results['img'], results['gt'])
    large = np.zeros((16, 40, 3))
    assert PadToPatch().transform(sample(large, large))['img'] is large


def test_a_pair_of_different_sizes_is_refused_before_padding_hides_it():
    with pytest.raises(ValueError, match='input/a.png: 10x9, target/a.png: 10x8'):
        PadToPatch().transform(sample(np.zeros((10, 9, 3)), np.zeros((10, 8, 3))))

import numpy as np
import pytest

from mmsampriors.datasets.deterministic_loader import SampleIndex
from mmsampriors.datasets.transforms import ProgressivePairedRandomCrop


def pair(height=40, width=60, scale=1, patch_size=24):
    """A pair whose every pixel says where it was: (row, column) of the ground truth's grid."""
    gt = np.stack(np.mgrid[:height, :width], axis=-1)
    return dict(
        sample_idx=SampleIndex(3, patch_size),
        scale=scale,
        img=gt[::scale, ::scale],
        gt=gt,
        img_path='input/a.png',
        gt_path='target/a.png',
    )


@pytest.mark.parametrize('patch_size', [16, 24, 40])
def test_crops_pair_alike_to_the_patch_of_the_sample(patch_size):
    results = ProgressivePairedRandomCrop().transform(pair(patch_size=patch_size))
    assert results['img'].shape == results['gt'].shape == (patch_size, patch_size, 2)
    np.testing.assert_array_equal(results['img'], results['gt'])


def test_patch_size_counts_on_the_ground_truth_of_another_scale():
    results = ProgressivePairedRandomCrop().transform(pair(scale=2))
    assert results['gt'].shape == (24, 24, 2) and results['img'].shape == (12, 12, 2)
    np.testing.assert_array_equal(results['img'], results['gt'][::2, ::2])


def test_one_transform_serves_samples_of_several_sizes():
    crop = ProgressivePairedRandomCrop()
    assert [len(crop.transform(pair(patch_size=size))['gt']) for size in (16, 32, 8)] == [16, 32, 8]


def test_too_small_an_image_is_named_with_its_size_the_patch_and_the_way_out():
    with pytest.raises(ValueError, match=r'(?s)\(20, 60\).*input/a.png.*24.*PadToPatch'):
        ProgressivePairedRandomCrop().transform(pair(height=20))


def test_pair_of_different_sizes_is_named():
    results = pair()
    results['img'] = results['img'][:30]
    with pytest.raises(ValueError, match=r'(?s)\(40, 60\).*\(30, 60\).*input/a.png.*target/a.png'):
        ProgressivePairedRandomCrop().transform(results)


def test_a_sample_without_patch_size_is_refused():
    with pytest.raises(TypeError, match='ProgressiveBatchSampler'):
        ProgressivePairedRandomCrop().transform({**pair(), 'sample_idx': 3})

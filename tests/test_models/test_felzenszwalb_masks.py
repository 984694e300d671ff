import copy

import numpy as np
import pytest
import skimage.data
import torch
from skimage.segmentation import felzenszwalb

import mmsampriors.models  # noqa: F401
from mmsampriors.registry import MODELS, build_part


@pytest.fixture(scope='module')
def images():
    arrays = [skimage.data.astronaut()[:90:2, :120:2], skimage.data.coffee()[100:190:2, 200:320:2]]
    return torch.from_numpy(np.stack(arrays)).permute(0, 3, 1, 2) / 255


def test_masks_are_the_labels_of_scikit_image_largest_first(images):
    source = build_part(MODELS, dict(type='FelzenszwalbMasks', scale=50.0, sigma=0.5, min_size=20))
    found = source.segment(images)
    assert len(found) == 2
    for image, masks in zip(images, found):
        labels = felzenszwalb(image.permute(1, 2, 0).double().numpy(), scale=50.0, sigma=0.5, min_size=20)
        assert len(masks) == len(np.unique(labels)) >= 3
        assert (masks.bitmaps.sum(0) == 1).all()
        for mask in masks.bitmaps:
            assert (labels == labels[mask.numpy()][0]).tolist() == mask.tolist()
        assert masks.areas.tolist() == sorted(masks.areas.tolist(), reverse=True)


def test_values_beyond_the_range_of_images_do_no_harm(images):
    source = build_part(MODELS, dict(type='FelzenszwalbMasks'))
    wide = torch.where(images > 0.9, images + 5, images)
    narrow = torch.where(images > 0.9, torch.ones(()), images)
    for one, other in zip(source.segment(wide), source.segment(narrow)):
        assert torch.equal(one.bitmaps, other.bitmaps)


def test_is_a_tool_and_not_a_module(images):
    source = build_part(MODELS, dict(type='FelzenszwalbMasks', min_size=7))
    assert not isinstance(source, torch.nn.Module) and not source.stored
    assert copy.deepcopy(source) is source
    assert source.prepare() is None
    assert source.provenance() == dict(type='FelzenszwalbMasks', scale=100.0, sigma=0.8, min_size=7)

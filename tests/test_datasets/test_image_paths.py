"""Whose masks are stored; how they are computed and read: tests/test_models/test_stored_masks.py."""

from types import SimpleNamespace

import pytest

from mmsampriors.datasets.stored_masks import ImagePaths


def test_a_data_set_without_the_images_that_are_segmented_says_what_to_set():
    dataset = SimpleNamespace(data_root='data/mine', get_data_info=lambda index: dict(img_path='data/mine/a.png'))
    assert ImagePaths(dataset, 'img_path')[0] == 'data/mine/a.png'
    with pytest.raises(ValueError, match='the data set of data/mine names none: set data_prefix.gt, to the folder'):
        ImagePaths(dataset, 'gt_path')[0]

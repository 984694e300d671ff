"""Photographs without ground truth go through the pipeline of the pairs, whatever that is."""

import cv2
import numpy as np
import pytest
from mmengine.dataset import ConcatDataset

import mmsampriors.datasets.transforms  # noqa: F401
from mmsampriors.datasets.deterministic_loader import SampleIndex
from mmsampriors.datasets.unlabeled import UnlabeledPhotographs, WithUnlabeled, photographs_in
from mmsampriors.models.batch import labelled_count
from mmsampriors.registry import DATASETS


@pytest.fixture
def photograph(tmp_path):
    """One photograph of 50 by 40 pixels, each of whose pixels is (row, column, 200) in RGB."""
    image = np.full((50, 40, 3), 200, np.uint8)
    image[..., 0], image[..., 1] = np.arange(50)[:, None], np.arange(40)
    (tmp_path / 'photographs' / 'deep').mkdir(parents=True)
    cv2.imwrite(str(tmp_path / 'photographs' / 'deep' / 'mine.png'), image[..., ::-1])
    return tmp_path / 'photographs'


def dataset_of(pairs, *steps, order='rgb'):
    loads = [dict(type='LoadImageFromFile', key=key, channel_order=order) for key in ('img', 'gt')]
    return DATASETS.build(
        dict(
            type='BasicImageDataset',
            metainfo=dict(dataset_type='pairs', task_name='denoising'),
            data_root=str(pairs),
            data_prefix=dict(img='input', gt='target'),
            pipeline=[*loads, *steps, dict(type='PackInputs')],
        )
    )


def both(dataset, folder):
    return WithUnlabeled(dataset, UnlabeledPhotographs(photographs_in([folder]), dataset))


@pytest.mark.parametrize('order, blue', [('rgb', 2), ('bgr', 0)])
def test_the_order_of_the_channels_is_that_of_the_pairs(pairs, photograph, order, blue):
    dataset = both(dataset_of(pairs, order=order), photograph)
    sample = dataset[len(dataset)]
    assert (sample['inputs'][blue] == 200).all()
    known, unknown = dataset[0]['data_samples'], sample['data_samples']
    assert unknown.metainfo_keys() == known.metainfo_keys() and unknown.keys() == known.keys()
    assert (known.labelled, unknown.labelled) == (True, False)
    assert unknown.metainfo['img_channel_order'] == order
    assert unknown.metainfo['img_path'].endswith('mine.png')


@pytest.mark.parametrize('source', ['gt', None])
def test_a_larger_ground_truth_is_black(pairs, photograph, source, tmp_path):
    """The flip before the crop writes into it."""
    flip = dict(type='Flip', keys=['img', 'gt'], flip_ratio=1.0, direction='horizontal')
    crop = [dict(type='SetValues', dictionary=dict(scale=3)), dict(type='PairedRandomCrop', gt_patch_size=36)]
    dataset = dataset_of(pairs, flip, *crop)
    unlabeled = UnlabeledPhotographs(photographs_in([photograph]), dataset, scale=3)
    if source is None:
        unlabeled.carry_masks(None)
    sample = WithUnlabeled(dataset, unlabeled)[len(dataset)]
    assert sample['inputs'].shape == (3, 12, 12) and (sample['inputs'][2] == 200).all()
    target = sample['data_samples'].gt_img
    assert target.shape == (3, 36, 36) and not target.any()
    assert source or sample['data_samples'].masks.size == (36, 36)


def test_patches_grow_and_small_photographs_are_extended(pairs, photograph):
    crop = [dict(type='SetValues', dictionary=dict(scale=1)), dict(type='mmsampriors.PadToPatch')]
    dataset = both(dataset_of(pairs, *crop, dict(type='mmsampriors.ProgressivePairedRandomCrop')), photograph)
    for patch_size in (16, 48):
        sample = dataset[SampleIndex(len(dataset), patch_size)]
        assert sample['inputs'].shape == (3, patch_size, patch_size)
        rows, columns = sample['inputs'][0], sample['inputs'][1]
        assert (rows[:, 0] == rows[:, 1]).all() and (columns[0] == columns[1]).all(), 'a patch in one piece'
        assert dataset[SampleIndex(0, patch_size)]['inputs'].shape == (3, patch_size, patch_size)


def test_wrapped_pairs_come_first(pairs, photograph):
    one = dataset_of(pairs)
    dataset = both(ConcatDataset([one, one]), photograph)
    assert len(dataset) == 8 and dataset[7]['data_samples'].labelled and not dataset[8]['data_samples'].labelled


def test_folders_are_looked_through(photograph, tmp_path):
    assert [path.name for path in photographs_in([photograph, photograph])] == ['mine.png', 'mine.png']
    (tmp_path / 'empty').mkdir()
    for folder, words in (('empty', 'found none'), ('absent', 'no such folder')):
        with pytest.raises(ValueError, match=words):
            photographs_in([photograph, tmp_path / folder])


def test_those_with_ground_truth_are_counted():
    assert labelled_count({}, 4) == 4 and labelled_count(dict(labelled=[True, True, False]), 3) == 2

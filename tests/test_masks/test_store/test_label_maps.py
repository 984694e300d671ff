"""Folders of label maps, and how their files are found."""

import os

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image

from mmsampriors.masks import CocoRLE, ImageMasks, LabelMaps, MaskStoreError


@pytest.mark.parametrize('dtype', [np.uint8, np.uint16])
def test_label_maps(tmp_path, dtype):
    labels = (np.random.default_rng(0).integers(0, 9, (20, 30)) * (np.iinfo(dtype).max // 9)).astype(dtype)
    Image.fromarray(labels).save(tmp_path / 'one.png')
    found = LabelMaps(tmp_path).load('/photographs/one.jpg')
    expected = ImageMasks.from_label_map(torch.from_numpy(labels.astype(np.int32)))
    assert len(found) == 9
    assert found.bitmaps.equal(expected.bitmaps)


def sequences(tmp_path, *maps):
    """Two images of one name, and label maps that each hold as many regions as they stand in this order."""
    images = [tmp_path / 'gt' / folder / '0001.jpg' for folder in ('first', 'second')]
    for number, path in enumerate(images):
        path.parent.mkdir(parents=True)
        Image.fromarray(np.full((4, 4, 3), number, np.uint8)).save(path)
    for count, name in enumerate(maps, 1):
        (tmp_path / 'maps' / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray((np.arange(16) % count).astype(np.uint8).reshape(4, 4)).save(tmp_path / 'maps' / name)
    return images, LabelMaps(tmp_path / 'maps')


@pytest.mark.parametrize('below', ['', 'gt/'])
def test_masks_are_kept_in_the_folders_of_the_images(tmp_path, below):
    images, maps = sequences(tmp_path, f'{below}first/0001.png', f'{below}second/0001.png')
    assert [len(maps.load(path)) for path in images] == [1, 2] == [len(maps.load(path)) for path in images]


@pytest.mark.parametrize('names', [['0001.png'], ['first/0001.png', '0001.png'], ['0001.png', 'second/0001.png']])
@pytest.mark.parametrize('order', [1, -1])
def test_two_images_do_not_share_masks(tmp_path, names, order):
    images, maps = sequences(tmp_path, *names)
    first, second = images[::order]
    maps.load(first)
    with pytest.raises(MaskStoreError, match=f'{second} and {first} would share the masks .*0001.png: keep'):
        maps.load(second)
    assert maps.load(first), 'as before'


def test_the_same_image_in_two_places_has_the_same_masks(tmp_path):
    images, maps = sequences(tmp_path, '0001.png')
    images[1].write_bytes(images[0].read_bytes())
    assert [maps.path_of(path) for path in images] == 2 * [tmp_path / 'maps' / '0001.png']


def test_a_folder_that_is_not_there_is_named_at_once(tmp_path):
    for store in (LabelMaps, CocoRLE):
        with pytest.raises(MaskStoreError, match=f'there is no folder of masks {tmp_path}/nothing'):
            store(tmp_path / 'nothing')


def test_bad_label_maps_are_named(tmp_path):
    with pytest.raises(MaskStoreError, match=r'no label map of .*one\.jpg: .*one\.png is absent'):
        LabelMaps(tmp_path).load('one.jpg')
    (tmp_path / 'cut.png').write_bytes(b'\x89PNG\r\n')
    with pytest.raises(MaskStoreError, match=r'cut\.png cannot be read as a label map'):
        LabelMaps(tmp_path).load('cut.jpg')
    Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(tmp_path / 'colour.png')
    with pytest.raises(MaskStoreError, match=r'colour\.png must be a label map with one channel, found 3'):
        LabelMaps(tmp_path).load('colour.jpg')
    tifffile.imwrite(tmp_path / 'float.png', np.zeros((8, 9), np.float32))
    with pytest.raises(MaskStoreError, match='float.png must be a label map of whole numbers, found float32'):
        LabelMaps(tmp_path).load('float.jpg')


def test_a_pipe_in_place_of_a_label_map_keeps_nobody_waiting(tmp_path):
    os.mkfifo(tmp_path / 'one.png')
    with pytest.raises(MaskStoreError, match='one.png is absent'):
        LabelMaps(tmp_path).load('photographs/one.jpg')

"""The cache on disk and folders of label maps."""

import os
import shutil
import struct
import time
import zlib
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image

from mmsampriors.files import sha256_of
from mmsampriors.masks import ImageFile, ImageMasks, LabelMaps, MaskCache, MaskStoreError, RunMasks, build_store
from mmsampriors.masks.store.cache import CHECKED_FROM, HEADER, MAGIC, CorruptEntry

SETTINGS = dict(source='gt', segmenter=dict(type='Fake', thresholds=(0.2, 0.6), checkpoint='1f'), restorer=None)


@pytest.fixture
def image(tmp_path):
    path = tmp_path / 'data' / 'gt' / 'one.png'
    path.parent.mkdir(parents=True)
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (20, 30, 3), np.uint8)).save(path)
    return path


@pytest.fixture
def cache(tmp_path):
    return MaskCache(tmp_path / 'cache', SETTINGS, data_root=tmp_path / 'data')


@pytest.fixture
def masks():
    return ImageMasks.from_masks(torch.rand(6, 20, 30) < 0.2, torch.rand(6), torch.rand(6))


def test_what_is_saved_is_loaded(cache, image, masks):
    assert not cache.check(image)
    cache.save(ImageFile(image), masks)
    assert cache.check(image)
    found = cache.load(image)
    assert isinstance(found, RunMasks)
    for name in ('bitmaps', 'scores', 'stability', 'boxes', 'areas'):
        torch.testing.assert_close(getattr(found, name), getattr(masks, name), rtol=0, atol=0)
    assert list(Path(cache.cache_dir).rglob('*.tmp')) == []


def test_entries_are_spread_over_folders(cache):
    folders = {os.path.dirname(cache.entry_path(f'{index}.png')) for index in range(5000)}
    assert len(folders) == 256


def test_data_and_cache_may_move(cache, image, masks, tmp_path):
    cache.save(ImageFile(image), masks)
    moved = tmp_path / 'elsewhere'
    shutil.move(tmp_path / 'data', moved / 'data')
    shutil.move(tmp_path / 'cache', moved / 'cache')
    there = MaskCache(moved / 'cache', SETTINGS, data_root=moved / 'data')
    assert there.check(moved / 'data' / 'gt' / 'one.png')
    assert len(there.load(moved / 'data' / 'gt' / 'one.png')) == 6


def test_relative_paths_and_paths_outside_the_root(cache, image, masks, monkeypatch, tmp_path):
    cache.save(ImageFile(image), masks)
    monkeypatch.chdir(image.parent)
    assert cache.check('one.png') and cache.check('../gt/one.png')
    outside = shutil.copy(image, tmp_path / 'outside.png')
    assert not cache.check(outside)
    cache.save(ImageFile(outside), masks)
    assert cache.check(outside)


def test_missing_entries(cache, image):
    with pytest.raises(MaskStoreError, match=r'no masks of .*one\.png: .* is absent; compute them with tools/cache'):
        cache.load(image)


@pytest.mark.parametrize(
    'harm',
    [lambda data: data[:-1], lambda data: data[:20], lambda data: b'', lambda data: data[:99] + b'?' + data[100:]],
)
def test_corrupt_entries_are_recognised(cache, image, masks, harm):
    cache.save(ImageFile(image), masks)
    path = Path(cache.entry_path(image))
    path.write_bytes(harm(path.read_bytes()))
    assert not cache.check(image)
    with pytest.raises(MaskStoreError, match=r'one\.png in .*\.masks are corrupt .* computes them anew'):
        cache.load(image)
    cache.save(ImageFile(image), masks)
    assert cache.check(image) and len(cache.load(image)) == 6


def forged(path, place=None, value=0, provenance=None):
    """Changes a number of an entry's header, or its provenance, and makes the checksum fit."""
    data = path.read_bytes()
    header = list(HEADER.unpack_from(data))
    end = HEADER.size + header[-1]
    if place is not None:
        header[place] = value
    checked = HEADER.pack(*header)[CHECKED_FROM:] + data[HEADER.size : end]
    checked += data[end:] if provenance is None else provenance
    path.write_bytes(MAGIC + struct.pack('<I', zlib.crc32(checked)) + checked)


@pytest.mark.parametrize('provenance', [b'{}', b'[1]', b'\xff\xfe{', b'', b'{"image": "one.png"}'])
def test_an_entry_that_does_not_say_where_it_comes_from_is_made_anew(cache, image, masks, provenance):
    cache.save(ImageFile(image), masks)
    forged(Path(cache.entry_path(image)), provenance=provenance)
    assert not cache.check(image)
    with pytest.raises(MaskStoreError, match='are corrupt .it does not say what it was made from.'):
        cache.load(image)


@pytest.mark.parametrize('place, value', [(5, 4 * 10**9), (5, 1), (8, 7), (6, 0), (8, 0)])
def test_a_header_that_says_otherwise_than_the_masks_is_named(cache, image, masks, place, value):
    cache.save(ImageFile(image), masks)
    forged(Path(cache.entry_path(image)), place, value)
    with pytest.raises(CorruptEntry, match=r'the masks in .*\.masks .*: delete that file'):
        cache.load(image).bitmaps


def test_a_pipe_in_place_of_masks_keeps_nobody_waiting(cache, image, masks, tmp_path):
    path = Path(cache.entry_path(image))
    path.parent.mkdir(parents=True)
    os.mkfifo(path)
    assert not cache.check(image)
    cache.save(ImageFile(image), masks)
    assert len(cache.load(image)) == 6
    os.mkfifo(tmp_path / 'one.png')
    with pytest.raises(MaskStoreError, match='one.png is absent'):
        LabelMaps(tmp_path).load('photographs/one.jpg')


def test_other_settings_are_an_error_that_names_them(cache, image, masks, tmp_path):
    cache.save(ImageFile(image), masks)
    changed = {**SETTINGS, 'segmenter': dict(type='Fake', thresholds=[0.2, 0.7], checkpoint='1f')}
    other = MaskCache(tmp_path / 'cache', changed, data_root=tmp_path / 'data')
    for read in (other.load, other.check):
        with pytest.raises(
            MaskStoreError,
            match=r'foreign masks: the entry of .*one\.png, .*\.masks, .*'
            r'segmenter\.thresholds: the entry has \[0\.2, 0\.6\], the config \[0\.2, 0\.7\]',
        ):
            read(image)


def test_settings_compare_equal_after_a_round_trip(cache, image, masks, tmp_path):
    cache.save(ImageFile(image), masks)
    reordered = dict(reversed([(key, value) for key, value in cache.settings.items()]))
    assert MaskCache(tmp_path / 'cache', reordered, data_root=tmp_path / 'data').check(image)


def test_an_image_that_changed_makes_its_masks_stale(cache, image, masks):
    cache.save(ImageFile(image), masks)
    Image.fromarray(np.zeros((20, 30, 3), np.uint8)).save(image)
    with pytest.raises(MaskStoreError, match=r'stale masks: .*one\.png changed .*\.masks .* delete that file'):
        cache.check(image)
    os.remove(cache.entry_path(image))
    assert not cache.check(image)


def test_an_image_edited_to_the_same_size_makes_its_masks_stale(cache, image, masks):
    bitmap = image.with_suffix('.bmp')
    for value in (1, 2):
        Image.fromarray(np.full((20, 30, 3), value, np.uint8)).save(bitmap)
        os.utime(bitmap, (value, value))
        if value == 1:
            bytes_before = bitmap.stat().st_size
            cache.save(ImageFile(bitmap), masks)
    assert bitmap.stat().st_size == bytes_before
    with pytest.raises(MaskStoreError, match=r'stale masks: .*one\.bmp changed'):
        cache.check(bitmap)


def test_a_touched_image_is_the_same_image_and_hashed_once(cache, image, masks, monkeypatch):
    hashed = []
    monkeypatch.setattr('mmsampriors.masks.store.cache.sha256_of', lambda path: hashed.append(path) or sha256_of(path))
    cache.save(ImageFile(image), masks)
    assert cache.check(image) and not hashed
    os.utime(image, (1, 1))
    assert cache.check(image) and len(cache.load(image)) == 6 and hashed == [image]
    Image.fromarray(np.zeros((20, 30, 3), np.uint8)).save(image)
    with pytest.raises(MaskStoreError, match='stale masks'):
        cache.load(image)


def test_an_entry_under_another_name_is_foreign(cache, image, masks):
    cache.save(ImageFile(image), masks)
    other = shutil.copy(image, image.with_name('two.png'))
    path = Path(cache.entry_path(other))
    path.parent.mkdir(exist_ok=True)
    shutil.copy(cache.entry_path(image), path)
    with pytest.raises(MaskStoreError, match=r'is the place of gt/two\.png, and holds the masks of gt/one\.png'):
        cache.check(other)


def test_sweep_removes_what_killed_processes_left(cache, image, masks):
    cache.save(ImageFile(image), masks)
    entry = Path(cache.entry_path(image))
    old, new = (entry.with_name(f'.{entry.name}.{name}.part') for name in ('old', 'new'))
    for path in (old, new):
        path.write_bytes(b'half')
    os.utime(old, (time.time() - 7200,) * 2)
    cache.sweep()
    assert entry.exists() and new.exists() and not old.exists()


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


def test_stores_are_built_from_configs(tmp_path):
    store = dict(type='MaskCache', cache_dir=str(tmp_path), settings=dict())
    assert isinstance(build_store(store), MaskCache) and store['type'] == 'MaskCache'
    assert isinstance(build_store(dict(type='LabelMaps', folder=str(tmp_path))), LabelMaps)
    with pytest.raises(ValueError, match="one of MaskCache, LabelMaps, CocoRLE, found 'Nonsense'"):
        build_store(dict(type='Nonsense'))

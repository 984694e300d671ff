"""The cache on disk, and the choice of a store."""

import os
import shutil
import struct
import time
import zlib
from pathlib import Path

import numpy as np
import pytest
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


def test_a_pipe_in_place_of_masks_keeps_nobody_waiting(cache, image, masks):
    path = Path(cache.entry_path(image))
    path.parent.mkdir(parents=True)
    os.mkfifo(path)
    assert not cache.check(image)
    cache.save(ImageFile(image), masks)
    assert len(cache.load(image)) == 6


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


def test_stores_are_built_from_configs(tmp_path):
    store = dict(type='MaskCache', cache_dir=str(tmp_path), settings=dict())
    assert isinstance(build_store(store), MaskCache) and store['type'] == 'MaskCache'
    assert isinstance(build_store(dict(type='LabelMaps', folder=str(tmp_path))), LabelMaps)
    with pytest.raises(ValueError, match="one of MaskCache, LabelMaps, CocoRLE, found 'Nonsense'"):
        build_store(dict(type='Nonsense'))

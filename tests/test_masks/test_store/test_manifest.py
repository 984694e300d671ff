"""Manifests of large caches: what they notice at the start of a training, and what the reading of an entry notices."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mmsampriors.masks import (
    ImageMasks,
    MaskCache,
    MaskStoreError,
    fill_cache,
    manifest_misfit,
    write_manifest,
)

COUNT = 7


def segment(images):
    return [ImageMasks.from_masks(image > 0.5) for image in images]


@pytest.fixture
def paths(tmp_path):
    found = []
    for index in range(COUNT):
        path = tmp_path / 'gt' / str(index % 2) / f'{index}.png'
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.random.default_rng(index).integers(0, 255, (9, 12, 3), np.uint8)).save(path)
        found.append(str(path))
    return found


@pytest.fixture
def cache(tmp_path):
    return MaskCache(tmp_path / 'cache', dict(name='one'), data_root=tmp_path)


@pytest.fixture
def full(cache, paths):
    fill_cache(cache, paths, segment)
    write_manifest(cache, paths)
    return cache


def test_one_that_fits_opens_no_entry(full, paths, monkeypatch):
    monkeypatch.setattr('mmsampriors.masks.store.cache.Entry', None)
    assert manifest_misfit(full, paths) is None


def test_data_and_cache_may_move(full, paths, tmp_path):
    moved = tmp_path / 'elsewhere'
    for name in ('gt', 'cache'):
        shutil.move(tmp_path / name, moved / name)
    there = MaskCache(moved / 'cache', dict(name='one'), data_root=moved)
    assert manifest_misfit(there, [path.replace(str(tmp_path), str(moved)) for path in paths]) is None


def removed(cache, paths):
    os.remove(cache.entry_path(paths[3]))


def folder_removed(cache, paths):
    shutil.rmtree(Path(cache.entry_path(paths[3])).parent)


def added(cache, paths):
    Path(cache.entry_path(paths[3])).with_name('another.masks').touch()


def replaced(cache, paths):
    other = Path(cache.entry_path(paths[3])).with_name('.other')
    shutil.copy(cache.entry_path(paths[2]), other)
    os.replace(other, cache.entry_path(paths[3]))


@pytest.mark.parametrize('change', [removed, folder_removed, added, replaced])
def test_entries_that_come_and_go_are_noticed(full, paths, change):
    change(full, paths)
    assert '1 of its folders' in manifest_misfit(full, paths)


@pytest.mark.parametrize(
    'other, reason',
    [
        (lambda paths: paths[:-1], 'is of 7 images, and the data set has 6'),
        (lambda paths: [*paths, paths[0] + '.png'], 'is of 7 images, and the data set has 8'),
        (lambda paths: [*paths[:-1], paths[0] + '.png'], 'is of images with other names'),
        (lambda paths: [*paths[:-1], paths[-1].replace('/0/', '/1/')], 'is of images with other names'),
    ],
)
def test_another_data_set_is_noticed(full, paths, other, reason):
    assert reason in manifest_misfit(full, other(paths))


def test_other_settings_have_no_manifest(full, paths, tmp_path):
    other = MaskCache(tmp_path / 'cache', dict(name='two'), data_root=tmp_path)
    assert manifest_misfit(other, paths) == 'it has no manifest'
    for folder in (tmp_path / 'cache' / 'manifests').iterdir():  # as if somebody had renamed it
        folder.rename(folder.with_name(other.digest.hex()))
    assert manifest_misfit(other, paths) == 'its manifest is of other settings'


@pytest.mark.parametrize(
    'harm', [lambda text: text[:-9], lambda text: '[]', lambda text: '{}', lambda text: text.replace('7', '"7"', 1)]
)
def test_a_damaged_one_does_not_fit(full, paths, tmp_path, harm):
    path = next((tmp_path / 'cache' / 'manifests').rglob('*.json'))
    path.write_text(harm(path.read_text()))
    assert manifest_misfit(full, paths) == 'its manifest is damaged'


def test_shards_that_were_filled_one_after_the_other_fit_together(cache, paths):
    for index in range(3):
        assert manifest_misfit(cache, paths) == 'it has no manifest', 'not before all are full'
        fill_cache(cache, paths, segment, shard=(index, 3))
        write_manifest(cache, paths, (index, 3))
    assert manifest_misfit(cache, paths) is None
    removed(cache, paths)
    assert '1 of its folders' in manifest_misfit(cache, paths)


def test_a_cache_that_cannot_be_written_gets_none(full, paths, tmp_path):
    shutil.rmtree(tmp_path / 'cache' / 'manifests')
    (tmp_path / 'cache' / 'manifests').write_text('no folder')
    write_manifest(full, paths)
    assert manifest_misfit(full, paths) == 'it has no manifest'


def test_what_a_killed_process_left_is_swept(full, paths, tmp_path):
    (whole,) = (tmp_path / 'cache' / 'manifests').rglob('*.json')
    half = whole.with_name(f'.{whole.name}.1.part')
    half.write_text('{')
    os.utime(half, (1, 1))
    full.sweep()
    assert not half.exists() and manifest_misfit(full, paths) is None


def test_it_is_small(full, tmp_path):
    path = next((tmp_path / 'cache' / 'manifests').rglob('*.json'))
    assert path.stat().st_size < 10_000 and json.loads(path.read_text())['images'] == COUNT


def test_what_it_cannot_notice_is_an_error_when_the_entry_is_read(full, paths):
    """An image that is written anew in place, and an entry that was put in the place of another."""
    Image.fromarray(np.zeros((9, 12, 3), np.uint8)).save(paths[0])
    Path(full.entry_path(paths[1])).write_bytes(Path(full.entry_path(paths[2])).read_bytes())
    Path(full.entry_path(paths[3])).write_bytes(b'half')
    assert manifest_misfit(full, paths) is None
    for number, message in enumerate([r'stale masks: .*0\.png changed', 'holds the masks of', None, 'are corrupt']):
        if message:
            with pytest.raises(MaskStoreError, match=message):
                full.load(paths[number])
        else:
            assert len(full.load(paths[number])) == 3

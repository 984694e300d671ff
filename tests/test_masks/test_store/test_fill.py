"""Filling a cache: resumed, shared, killed."""

import errno
import multiprocessing
import os
import random
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tqdm import tqdm

from mmsampriors.masks import Filled, ImageMasks, MaskCache, MaskStoreError, fill_cache
from mmsampriors.masks.store.cache import ImageFile
from mmsampriors.masks.store.fill import BatchSize, fitting, read_image

KILLS = 20


def segment(images):
    """Masks that can be told from each other and from those of any other image."""
    levels = torch.linspace(0.1, 0.9, 7)[:, None, None]
    return [ImageMasks.from_masks(image.mean(0) > levels, levels.flatten()) for image in images]


def write_images(folder, count, sizes=((20, 30),)):
    rng = np.random.default_rng(0)
    folder.mkdir()
    for index in range(count):
        pixels = rng.integers(0, 255, (*sizes[index % len(sizes)], 3), np.uint8)
        Image.fromarray(pixels).save(folder / f'{index}.png')
    return sorted(str(path) for path in folder.iterdir())


def right(cache, path):
    pixels = torch.from_numpy(np.array(Image.open(path))).permute(2, 0, 1) / 255
    expected, found = segment(pixels[None])[0], cache.load(path)
    return found.bitmaps.equal(expected.bitmaps) and found.scores.equal(expected.scores)


def open_cache(folder):
    return MaskCache(folder / 'cache', dict(type='thresholds'), data_root=folder)


def fill_in_child(folder, paths, shard):
    torch.set_num_threads(1)
    tqdm.set_lock(threading.RLock())  # of its own: who is killed while holding the one that is shared leaves it locked
    fill_cache(open_cache(folder), paths, segment, shard=shard)


def start_filler(folder, paths, shard=(0, 1)):
    process = multiprocessing.get_context('fork').Process(  # starts at once, with all that is imported here
        target=fill_in_child, args=(folder, paths, shard)
    )
    process.start()
    return process


def test_fills_and_resumes(tmp_path):
    paths, cache = write_images(tmp_path / 'images', 7), open_cache(tmp_path)
    assert fill_cache(cache, paths[:3], segment) == Filled(0, 3)
    assert fill_cache(cache, paths + paths, segment) == Filled(10, 4)
    assert fill_cache(cache, tuple(paths), None) == Filled(7, 0)
    assert all(right(cache, path) for path in paths)


@pytest.mark.parametrize('batch_size', [1, 3, 100])
def test_batches_hold_images_of_one_size(tmp_path, batch_size):
    paths, cache, seen = write_images(tmp_path / 'images', 9, [(20, 30), (20, 30), (30, 20)]), open_cache(tmp_path), []

    def count(images):
        seen.append(len(images))
        return segment(images)

    fill_cache(cache, paths, count, batch_size=batch_size)
    assert sum(seen) == 9 and max(seen) == min(batch_size, 2)
    assert all(right(cache, path) for path in paths)


def test_shards_are_disjoint_and_complete(tmp_path):
    paths, cache = write_images(tmp_path / 'images', 11), open_cache(tmp_path)
    filled = [fill_cache(cache, paths, segment, shard=(index, 3)) for index in range(3)]
    assert filled == [(0, 4), (0, 4), (0, 3)]
    assert all(right(cache, path) for path in paths)


def test_workers_share_a_shard_and_do_what_the_others_leave(tmp_path):
    paths, cache = write_images(tmp_path / 'images', 11), open_cache(tmp_path)
    assert fill_cache(cache, paths[:8], segment, worker=(1, 3)) == Filled(0, 8)
    assert fill_cache(cache, paths, segment, worker=(0, 3)) == Filled(3, 3)
    assert fill_cache(cache, paths, None, worker=(2, 3)) == Filled(3, 0)
    assert all(right(cache, path) for path in paths)


def test_a_slow_worker_does_less(tmp_path):
    paths = write_images(tmp_path / 'images', 40)

    def fill(worker, seconds):
        def slowly(images):
            time.sleep(seconds)
            return segment(images)

        return fill_cache(open_cache(tmp_path), paths, slowly, worker=worker)

    with ThreadPoolExecutor(2) as pool:
        fast, slow = pool.map(fill, [(0, 2), (1, 2)], [0.02, 0.2])
    assert fast.computed > 20 > slow.computed
    assert 40 <= fast.computed + slow.computed <= 50, 'hardly any image twice'
    assert all(right(open_cache(tmp_path), path) for path in paths)


def test_one_line_shows_the_progress_of_all(tmp_path, capsys):
    paths, cache = write_images(tmp_path / 'images', 6), open_cache(tmp_path)

    def and_the_other(images):  # computes one of the other's at each call
        rest = [path for path in paths[1::2] if not cache.check(path)][:1]
        for path in rest:
            fill_cache(cache, [path], segment, worker=(1, 1))
        return segment(images)

    fill_cache(cache, paths, and_the_other, worker=(0, 2))
    assert '6 of 6' in capsys.readouterr().err


def test_reading_and_writing_overlap_with_the_segmenter(tmp_path, monkeypatch):
    """Each of the three takes as long: together they take little more than one."""
    paths, cache = write_images(tmp_path / 'images', 10), open_cache(tmp_path)

    def after(seconds, function):
        def slow(*arguments):
            time.sleep(seconds)
            return function(*arguments)

        return slow

    monkeypatch.setattr('mmsampriors.masks.store.fill.read_image', after(0.1, read_image))
    monkeypatch.setattr(cache, 'save', after(0.1, cache.save))
    started = time.monotonic()
    fill_cache(cache, paths, after(0.1, segment))
    assert time.monotonic() - started < 2.4, 'one after the other they take 3 seconds'


@pytest.mark.parametrize('full', [True, False])
def test_what_cannot_be_written_is_one_error(tmp_path, monkeypatch, full):
    paths, cache = write_images(tmp_path / 'images', 9), open_cache(tmp_path)
    fill_cache(cache, paths[:2], segment)
    if full:
        message = r'masks of .*\.png cannot be written to .*No space left on device.*free space there.*is kept'

        def no_space(path, content):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)

        monkeypatch.setattr('mmsampriors.masks.store.cache.write_whole', no_space)
        with pytest.raises(MaskStoreError, match=message):
            fill_cache(cache, paths, segment)
        assert all(right(cache, path) for path in paths[:2]) and not cache.check(paths[5])
    else:
        (tmp_path / 'file').write_text('no folder')
        with pytest.raises(MaskStoreError, match='masks cannot be written to .*file .*make that folder writable'):
            fill_cache(MaskCache(tmp_path / 'file', {}, data_root=tmp_path), paths, segment)


def test_few_masks_wait_to_be_written(tmp_path, monkeypatch):
    """However slow the disk is: what waits takes memory."""
    paths, cache, waiting = write_images(tmp_path / 'images', 20), open_cache(tmp_path), []
    segmented, saved = [], []
    save = cache.save

    def save_slowly(file, masks):
        time.sleep(0.02)
        save(file, masks)
        saved.append(file)

    def segment_one(images):
        segmented.extend(images)
        waiting.append(len(segmented) - len(saved))
        return segment(images)

    monkeypatch.setattr(cache, 'save', save_slowly)
    assert fill_cache(cache, paths, segment_one) == Filled(0, 20)
    assert len(saved) == 20 and max(waiting) <= 4


def test_batches_by_free_memory():
    assert fitting(1e9, 9e9) == 4
    assert fitting(1e9, 1e9) == 1
    assert fitting(1, 1e9) == 16
    size = BatchSize(None, 'cpu')
    with size.measured(1):
        pass
    assert size.count == 1 and BatchSize(5, 'cuda').count == 5


def test_the_restored_image_is_segmented(tmp_path):
    paths, cache = write_images(tmp_path / 'images', 2), open_cache(tmp_path)
    fill_cache(cache, paths, segment, restore=lambda images: torch.ones_like(images))
    assert len(cache.load(paths[0])) == 7 and cache.load(paths[0]).bitmaps.all()


def test_images_are_read_as_rgb(tmp_path):
    path = str(tmp_path / 'red.png')
    Image.fromarray(np.full((4, 5, 3), (255, 0, 0), np.uint8)).save(path)
    seen = []
    fill_cache(open_cache(tmp_path), [path], lambda images: seen.append(images) or segment(images))
    assert seen[0].shape == (1, 3, 4, 5) and seen[0][0, :, 0, 0].tolist() == [1, 0, 0]


def test_bad_images_and_bad_segmenters_are_named(tmp_path):
    (tmp_path / 'cut.png').write_bytes(b'\x89PNG\r\n')
    with pytest.raises(ValueError, match=r'cut\.png is no image of a format that is read'):
        fill_cache(open_cache(tmp_path), [tmp_path / 'cut.png'], segment)
    path = write_images(tmp_path / 'images', 1)[0]
    with pytest.raises(ValueError, match=r'gave masks of \(3, 4\) for .*0\.png, which has \(20, 30\)'):
        fill_cache(open_cache(tmp_path), [path], lambda images: [ImageMasks.empty(3, 4)])


def test_gray_of_sixteen_bits_is_segmented_as_it_looks(tmp_path):
    """Pillow turns all of it but the darkest into white."""
    deep = np.arange(2**16, dtype=np.uint16).reshape(256, 256)
    Image.fromarray(deep).save(tmp_path / 'deep.png')
    found = read_image(ImageFile(tmp_path / 'deep.png'))
    assert found.shape == (3, 256, 256)
    np.testing.assert_allclose(found[1].numpy(), deep / 65535, atol=0.5 / 255 + 1e-6)


def test_foreign_entries_stop_the_work_before_it_begins(tmp_path):
    paths = write_images(tmp_path / 'images', 3)
    fill_cache(open_cache(tmp_path), paths[-1:], segment)
    other = MaskCache(tmp_path / 'cache', dict(type='another'), data_root=tmp_path)
    with pytest.raises(MaskStoreError, match=r'2\.png.*type: the entry has .thresholds., the config .another.'):
        fill_cache(other, paths, None)


def test_two_fillers_at_once(tmp_path):
    paths, cache = write_images(tmp_path / 'images', 60), open_cache(tmp_path)
    fillers = [start_filler(tmp_path, paths) for _ in range(2)]
    for filler in fillers:
        filler.join(60)
        assert filler.exitcode == 0
    assert all(right(cache, path) for path in paths)
    assert list((tmp_path / 'cache').rglob('*.tmp')) == []


def test_survives_kill_9_at_random_moments(tmp_path):
    paths, cache = write_images(tmp_path / 'images', 120), open_cache(tmp_path)
    rng, kills, in_the_middle = random.Random(0), 0, 0
    while kills < KILLS:
        before = {path for path in paths if os.path.exists(cache.entry_path(path))}
        fillers = [
            start_filler(tmp_path, paths, shard) for shard in rng.choice([[(0, 1)], [(0, 1), (0, 1)], [(0, 2), (1, 2)]])
        ]
        wait_for_progress(cache, paths, len(before))
        time.sleep(rng.uniform(0, 0.15))
        for filler in fillers:
            filler.kill()
            filler.join()
            kills += filler.exitcode == -signal.SIGKILL
        after = {path for path in paths if os.path.exists(cache.entry_path(path))}
        in_the_middle += len(before) < len(after) < len(paths)
        assert before <= after, 'lost'
        assert all(right(cache, path) for path in after), 'wrong'
        if len(after) == len(paths):
            for path in paths[::2]:
                os.remove(cache.entry_path(path))
    assert in_the_middle >= 5, 'hardly any kill hit a working filler'
    filled = fill_cache(cache, paths, segment)
    assert sum(filled) == len(paths)
    assert all(right(cache, path) for path in paths)
    assert len(list(Path(cache.cache_dir).rglob('*.masks'))) == len(paths)


def wait_for_progress(cache, paths, stored, seconds=30):
    """Waits until a filler wrote something: one that is still starting cannot be interrupted at work."""
    end = time.monotonic() + seconds
    while time.monotonic() < end and sum(os.path.exists(cache.entry_path(path)) for path in paths) == stored:
        time.sleep(0.001)

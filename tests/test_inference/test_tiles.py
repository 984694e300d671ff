"""Tiles, with functions whose whole result is known."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mmsampriors.images import to_unit
from mmsampriors.inference.tiles import (
    GRID,
    SMALLEST_TILE,
    OutOfMemoryError,
    free_on_cpu,
    halved,
    is_out_of_memory,
    run_in_tiles,
    spans_of,
    tile_for,
)


@settings(deadline=None, max_examples=500)
@given(
    length=st.integers(1, 3000),
    tile=st.integers(SMALLEST_TILE, 600),
    overlap=st.integers(0, 300),
    scale=st.integers(1, 4),
)
@example(length=360, tile=72, overlap=0, scale=1)
@example(length=4001, tile=512, overlap=32, scale=1)
@example(length=64, tile=64, overlap=8, scale=1)
def test_spans_cover_an_axis_hold_the_overlap_and_add_up_to_one(length, tile, overlap, scale):
    spans, overlap = spans_of(length, tile, overlap, scale), min(overlap, tile // 2)
    total = np.zeros(scale * length)
    for span in spans:
        total[scale * span.start : scale * span.stop] += span.weights
        assert span.start % GRID == 0 and span.stop - span.start <= tile
        assert span.weights.min() >= 0
    np.testing.assert_allclose(total, 1, atol=1e-6)
    assert spans[0].start == 0 and spans[-1].stop == length
    for one, other in zip(spans, spans[1:]):
        assert one.start < other.start and one.stop - other.start >= overlap
        shared = slice(0, scale * (one.stop - other.start) // 4)
        assert not other.weights[shared].any(), 'the border of a tile counts for nothing'


@pytest.mark.parametrize('tile, overlap', [(72, 0), (64, 0), (100, 9), (64, 32)])
def test_no_pixel_stays_black(tile, overlap):
    white = np.full((130, 360, 3), 255, np.uint8)
    assert (run_in_tiles(to_unit, white, tile, overlap) == 255).all()


def larger(pixels, scale):
    return pixels.repeat(scale, axis=0).repeat(scale, axis=1)


@pytest.mark.parametrize('dtype', [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize('scale', [1, 3])
def test_what_looks_at_single_pixels_gives_the_same_in_tiles(dtype, scale):
    random = np.random.default_rng(0)
    pixels = random.uniform(0, 1, (150, 217, 3)) if dtype == np.float32 else random.integers(0, 250, (150, 217, 3))
    pixels, shares = pixels.astype(dtype), []
    restored = run_in_tiles(lambda tile: larger(to_unit(tile), scale), pixels, 64, 16, shares.append, scale)
    np.testing.assert_allclose(restored, larger(pixels, scale), atol=1e-6, rtol=0)
    assert restored.dtype == dtype and sum(shares) == pytest.approx(1)


def test_the_result_is_never_held_as_floats():
    """They would take four times its bytes."""
    pixels = np.zeros((600, 400, 3), np.uint8)
    tracemalloc.start()
    restored = run_in_tiles(lambda tile: larger(to_unit(tile), 4), pixels, 64, 16, scale=4)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert restored.shape == (2400, 1600, 3) and peak < 2.5 * restored.nbytes


def test_tiles_that_differ_fade_into_each_other():
    """Each tile is a brightness of its own, the worst case: no step between neighbours is larger than a fade's."""
    brightness = iter(np.tile([0.2, 0.8], 100))
    pixels = np.zeros((300, 400, 1), np.float32)
    restored = run_in_tiles(lambda tile: np.full(tile.shape, next(brightness), np.float32), pixels, 128, 64)
    assert np.abs(np.diff(restored[..., 0], axis=0)).max() < 0.6 * 2 / 32
    assert np.abs(np.diff(restored[..., 0], axis=1)).max() < 0.6 * 2 / 32
    assert restored.max() > 0.7 and restored.min() < 0.3


def test_tile_follows_the_memory():
    assert tile_for((300, 400), bytes_per_pixel=100, free=2**30) == 400
    assert tile_for((4000, 6000), 1000, free=2 * 2**30) == 1024
    assert tile_for((4000, 6000), 1000, free=2**40, most=2**30) == 1024
    assert tile_for((4000, 6000), 1000, free=1000) == 64
    assert free_on_cpu() > 2**20


def test_the_limit_of_a_container_counts(tmp_path, monkeypatch):
    (tmp_path / 'memory.max').write_text('1000000\n')
    (tmp_path / 'memory.current').write_text('400000\n')
    monkeypatch.setattr('mmsampriors.inference.tiles.CGROUP', tmp_path)
    assert free_on_cpu() == 600000
    (tmp_path / 'memory.max').write_text('max\n')
    assert free_on_cpu() > 600000


def test_halving_ends():
    tile, tried = 1000, []
    with pytest.raises(OutOfMemoryError, match='not even tiles of 64 pixels'):
        while True:
            tile = halved(tile)
            tried.append(tile)
    assert tried == [496, 240, 112, 64]


def test_out_of_memory_is_known_by_its_messages():
    for text in ('CUDA out of memory. Tried', "DefaultCPUAllocator: can't allocate memory", 'std::bad_alloc'):
        assert is_out_of_memory(RuntimeError(text))
    assert is_out_of_memory(MemoryError()) and not is_out_of_memory(RuntimeError('sizes do not match'))

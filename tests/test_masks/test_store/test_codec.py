"""Entries as bytes."""

import numpy as np
import pytest
import torch
from damage import damaged
from hypothesis import given, settings
from hypothesis import strategies as st

from mmsampriors.masks import ImageMasks, RunMasks
from mmsampriors.masks.store.cache import CorruptEntry, Entry, encode

DIGEST = bytes(range(16))
PROVENANCE = dict(image='ä/b.png', sha256='0' * 64, bytes=1, mtime_ns=2, settings=dict(scale=1.5))


def random_masks(rng, count, height, width, density=0.1):
    return ImageMasks.from_masks(
        torch.from_numpy(rng.random((count, height, width)) < density), torch.from_numpy(rng.random(count, np.float32))
    )


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 70), st.integers(1, 30), st.integers(1, 30), st.integers(0, 2**32 - 1))
def test_round_trip(count, height, width, seed):
    masks = random_masks(np.random.default_rng(seed), count, height, width)
    data = encode(RunMasks.pack(masks), DIGEST, PROVENANCE)
    entry = Entry(data)
    assert (entry.digest, entry.provenance, entry.size) == (DIGEST, PROVENANCE, (height, width))
    found = RunMasks(entry)
    for name in ('bitmaps', 'scores', 'stability', 'boxes', 'areas'):
        torch.testing.assert_close(getattr(found, name), getattr(masks, name), rtol=0, atol=0)
    rows, columns = height // 2 + 1, width // 2 + 1
    assert (
        found.flip('vertical')
        .crop(0, 0, rows, columns)
        .bitmaps.equal(ImageMasks.from_masks(masks.bitmaps.flip(1)[:, :rows, :columns]).bitmaps)
    )


def test_an_entry_of_a_481x321_image_is_at_most_60_kb():
    rng = np.random.default_rng(0)
    rows, columns = np.ogrid[:321, :481]
    centres, radii = rng.random((64, 2)) * (321, 481), 8 + 60 * rng.random(64)
    wobble = rng.normal(0, 1.5, (64, 321, 1)) + rng.normal(0, 1.5, (64, 1, 481))
    masks = [np.hypot(rows - y, columns - x) < r + w for (y, x), r, w in zip(centres, radii, wobble)]
    packed = RunMasks.from_masks(torch.from_numpy(np.stack(masks)))
    data = encode(packed, DIGEST, PROVENANCE)
    assert len(packed) == 64
    assert len(data) <= 60_000
    assert RunMasks(Entry(data)).bitmaps.equal(packed.bitmaps)


@pytest.fixture(scope='module')
def entry():
    return encode(RunMasks.pack(random_masks(np.random.default_rng(1), 5, 12, 13)), DIGEST, PROVENANCE)


@settings(deadline=None, max_examples=100)
@given(st.data())
def test_any_changed_byte_and_any_truncation_is_recognised(entry, data):
    at = data.draw(st.integers(0, len(entry) - 1))
    changed = bytearray(entry)
    changed[at] ^= data.draw(st.integers(1, 255))
    for bad in (bytes(changed), entry[:at], entry + b'\0'):
        with pytest.raises(CorruptEntry):
            Entry(bad)


@settings(deadline=None, max_examples=200)
@given(st.data())
def test_other_bytes_are_never_other_masks(entry, data):
    found = data.draw(
        st.one_of(damaged(entry), st.binary(max_size=200), st.binary(max_size=200).map(entry[:4].__add__))
    )
    try:
        masks = RunMasks(Entry(found))
    except CorruptEntry:
        return
    assert found == entry and len(masks) == 5

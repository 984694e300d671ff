"""Mask sources on disk, as the model sees them."""

import numpy as np
import pytest
import torch
from PIL import Image

from mmsampriors.masks import build_store
from mmsampriors.registry import MODELS, build_part

FELZENSZWALB = dict(type='FelzenszwalbMasks')


def test_cached_masks_segment_whole_images_in_validation():
    images = torch.rand(2, 3, 24, 32)
    cached = build_part(MODELS, dict(type='CachedMasks', segmenter=FELZENSZWALB))
    theirs = build_part(MODELS, FELZENSZWALB).segment(images)
    assert all(torch.equal(a.bitmaps, b.bitmaps) for a, b in zip(cached.segment(images), theirs))


def test_the_store_knows_what_the_masks_are_made_of(tmp_path):
    (tmp_path / 'student.pth').write_bytes(b'abc')
    cached = build_part(
        MODELS,
        dict(type='CachedMasks', segmenter=FELZENSZWALB, source='restored', restorer=str(tmp_path / 'student.pth')),
    )
    settings = build_store(cached.store(str(tmp_path))).settings
    assert settings['source'] == 'restored' and settings['restorer'].startswith('ba7816bf')
    assert settings['segmenter'] == build_part(MODELS, FELZENSZWALB).provenance()


@pytest.mark.parametrize(
    'bad, message',
    [
        (dict(source='input'), "one of .*'gt', 'lq', 'restored'"),
        (dict(source='restored'), 'goes with'),
        (dict(restorer='x.pth'), 'goes with'),
        (dict(segmenter=dict(type='LabelMapMasks', folder='x')), 'must segment images'),
    ],
)
def test_contradictions_are_refused(bad, message):
    with pytest.raises(ValueError, match=message):
        build_part(MODELS, {**dict(type='CachedMasks', segmenter=FELZENSZWALB), **bad})


def test_label_maps_are_found_by_name(tmp_path):
    labels = np.zeros((6, 8), np.uint8)
    labels[:, 5:] = 3
    Image.fromarray(labels).save(tmp_path / 'a.png')
    source = build_part(MODELS, dict(type='LabelMapMasks', folder=str(tmp_path)))
    (masks,) = source.segment(torch.rand(1, 3, 6, 8), ['elsewhere/a.jpg'])
    assert [int(area) for area in masks.areas] == [30, 18]
    assert torch.equal(masks.bitmaps[1], torch.from_numpy(labels == 3))
    with pytest.raises(ValueError, match='expected 1 paths, found 0'):
        source.segment(torch.rand(1, 3, 6, 8))

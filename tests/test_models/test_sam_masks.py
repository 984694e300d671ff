"""SAMMasks runs segment-anything's real Sam; SAMEncoderExtractor its image encoder."""

import gc
from types import SimpleNamespace

import pytest
import torch
from segment_anything.modeling import Sam
from skimage import data

from mmsampriors.masks import SAM_BUILDERS, register_sam, shared_sam
from mmsampriors.masks.sam.tiny import tiny_architecture
from mmsampriors.registry import MODELS, build_part


@pytest.fixture
def random_sam(monkeypatch):
    """A registered Sam with random weights: its masks mean nothing, its path is the real one."""
    monkeypatch.setattr('mmsampriors.masks.sam.builders.SAM_BUILDERS', dict(SAM_BUILDERS))
    sam = tiny_architecture().eval()
    register_sam('random_sam', lambda checkpoint=None: sam)
    return sam


ALL = dict(points_per_side=4, pred_iou_thresh=0.0, stability_score_thresh=0.0, box_nms_thresh=1.0)


def test_masks_come_from_the_real_sam(random_sam):
    source = build_part(MODELS, dict(type='SAMMasks', model_type='random_sam', engine=ALL))
    assert isinstance(random_sam, Sam)
    masks = source.segment(torch.rand(2, 3, 48, 64))
    assert [of_image.size for of_image in masks] == [(48, 64)] * 2
    assert all(len(of_image) >= 3 for of_image in masks)


def test_the_small_sam_finds_masks_in_a_photograph_without_being_told_how():
    photograph = torch.from_numpy(data.astronaut()[:256, 100:356].copy()).permute(2, 0, 1)[None] / 255
    source = build_part(MODELS, dict(type='SAMMasks', model_type='tiny'))
    assert len(source.segment(photograph)[0]) >= 10
    fewer = build_part(MODELS, dict(type='SAMMasks', model_type='tiny', engine=dict(pred_iou_thresh=0.99)))
    assert fewer.provenance()['engine']['pred_iou_thresh'] == '0.99'
    assert len(fewer.segment(photograph)[0]) == 0


def test_provenance_holds_every_setting_and_the_checkpoint(tmp_path):
    plain = build_part(MODELS, dict(type='SAMMasks', model_type='vit_b')).provenance()
    assert plain['checkpoint'] == '01ec64' and plain['engine']['points_per_side'] == '32'
    (tmp_path / 'mine.pth').write_bytes(b'abc')
    mine = build_part(MODELS, dict(type='SAMMasks', model_type='vit_b', checkpoint=str(tmp_path / 'mine.pth')))
    assert mine.provenance()['checkpoint'].startswith('ba7816bf')
    fewer = build_part(MODELS, dict(type='SAMMasks', model_type='vit_b', engine=dict(points_per_side=16)))
    assert fewer.provenance() != plain


def test_precision_is_given_by_name(random_sam):
    source = build_part(MODELS, dict(type='SAMMasks', model_type='random_sam', engine=dict(dtype='bfloat16')))
    source.prepare()
    assert source._engine.dtype is torch.bfloat16


def test_precision_that_is_not_named_is_that_of_the_device(random_sam, monkeypatch):
    def build(**engine):
        return build_part(MODELS, dict(type='SAMMasks', model_type='random_sam', engine=dict(ALL, **engine)))

    source, named = build(), build(dtype='float32')
    source.segment(torch.rand(1, 3, 32, 32))
    assert source._engine.dtype is source._engine.decoder.dtype is torch.float32
    monkeypatch.setattr('mmsampriors.models.mask_sources.fastest_exact_dtype', lambda device: torch.bfloat16)
    for one in (source, named):
        one.segment(torch.rand(1, 3, 32, 32))
    assert source._engine.dtype is source._engine.decoder.dtype is torch.bfloat16
    assert named._engine.dtype is torch.float32
    assert source.provenance()['engine']['dtype'] == 'by device'  # a cache is filled and read on different machines


def test_unknown_engine_setting_is_refused():
    with pytest.raises(ValueError, match='unknown keys .*points_per_row'):
        build_part(MODELS, dict(type='SAMMasks', engine=dict(points_per_row=3)))


def test_a_missing_checkpoint_is_named_before_training(tmp_path):
    source = build_part(MODELS, dict(type='SAMMasks', model_type='vit_b', checkpoint=str(tmp_path / 'absent.pth')))
    with pytest.raises(FileNotFoundError, match='absent.pth'):
        source.prepare()


def test_encoder_extractor_shows_the_image_and_not_its_padding(random_sam):
    extractor = build_part(MODELS, dict(type='SAMEncoderExtractor', model_type='random_sam'))
    features = extractor(torch.rand(1, 3, 32, 64))
    assert features.shape[2:] == (24, 48)
    assert torch.isfinite(features).all()


def test_the_same_weights_are_in_memory_once(random_sam, monkeypatch):
    built = []
    register_sam('counted_sam', lambda checkpoint=None: built.append(checkpoint) or tiny_architecture().eval())
    sources = [build_part(MODELS, dict(type='SAMMasks', model_type='counted_sam', engine=ALL)) for _ in range(2)]
    for source in sources:
        source.prepare()
    extractor = build_part(MODELS, dict(type='SAMEncoderExtractor', model_type='counted_sam'))
    assert built == [None]
    assert extractor.encoder is sources[0]._engine.sam.image_encoder is sources[1]._engine.sam.image_encoder
    del sources, source
    shared_sam('counted_sam')
    assert built == [None], 'the extractor holds it'
    del extractor
    gc.collect()  # an engine and what it keeps refer to each other
    shared_sam('counted_sam')
    assert built == [None, None], 'nobody held it'


def test_a_sam_leaves_the_device_and_comes_back(random_sam, monkeypatch):
    """The device is one that the tests have not: where the SAM says that it is."""
    source = build_part(MODELS, dict(type='SAMMasks', model_type='random_sam', engine=ALL))
    source.release()  # before it is built
    source.segment(torch.rand(1, 3, 48, 64))
    moves = []
    fake = SimpleNamespace(device=torch.device('cuda:0'), state_dict=random_sam.state_dict, to=moves.append)
    source._engine.sam = fake
    monkeypatch.setattr(torch.cuda, 'empty_cache', lambda: moves.append('emptied'))
    kept = (source._engine._resizer, source._engine.points_on)
    assert all(cache.cache_info().currsize for cache in kept)
    source.release()
    assert moves == ['cpu', 'emptied']
    assert not any(cache.cache_info().currsize for cache in kept), 'tables stayed on the device'
    source._engine.sam = random_sam
    assert len(source.segment(torch.rand(1, 3, 48, 64))) == 1

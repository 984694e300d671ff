"""SAMs of other families against their own packages, on random weights."""

import family
import numpy as np
import pytest
import torch
from test_engine import photographs

from mmsampriors.masks import SAM_BUILDERS, MaskEngine, register_sam
from mmsampriors.masks.sam.encoder import encode_images
from mmsampriors.masks.sam.folded_decoder import FoldedDecoder
from mmsampriors.masks.sam.ops import resized_shape, to_encoder
from mmsampriors.registry import MODELS, build_part

PACKAGES = dict(hq_vit='segment_anything_hq', hq_tiny='segment_anything_hq', mobile='mobile_sam', sam2='sam2')


def built(name):
    pytest.importorskip(PACKAGES[name])
    return getattr(family, name)()


def thresholds(sam, images, points, survive):
    """Settings with which a share of the prompts survives, and half of their masks after that."""
    settings = dict(points_per_side=points, pred_iou_thresh=0.0, stability_score_thresh=0.0, box_nms_thresh=1.0)
    scores, engine = [], MaskEngine(sam, **settings)
    decode = engine._decode
    engine._decode = lambda state, sparse: (decoded := decode(state, sparse), scores.append(decoded[0]))[0]
    engine.generate(images)
    settings['pred_iou_thresh'] = torch.cat(scores).amax(1).quantile(1 - survive).item()
    found = MaskEngine(sam, **settings).generate(images)
    settings['stability_score_thresh'] = torch.cat([masks.stability for masks in found]).nanquantile(0.5).item()
    return settings


def same_input(generator, sam):
    """Gives stock the engine's own input: PIL's rounding of halves, which stock pads with, is another matter."""

    def set_image(image):
        tensor, side = torch.from_numpy(image).permute(2, 0, 1).float(), sam.image_encoder.img_size
        height, width = resized_shape(image.shape[:2], side)
        ready = to_encoder([tensor], sam, side)[:, :, :height, :width]
        generator.predictor.set_torch_image(ready * sam.pixel_std + sam.pixel_mean, image.shape[:2])

    generator.predictor.set_image = set_image


def matched(found, stock):
    """Masks of both sides, and how many of them have one of IoU 0.99 and a score within 1e-3 on the other."""
    if not len(found) or not stock:
        return np.array([len(found) + len(stock), 0])
    theirs = torch.from_numpy(np.stack([mask['segmentation'] for mask in stock])).flatten(1).float()
    ours = found.bitmaps.flatten(1).float()
    inter = ours @ theirs.T
    iou = inter / (ours.sum(1)[:, None] + theirs.sum(1) - inter)
    scores = torch.tensor([mask['predicted_iou'] for mask in stock])
    close = (iou >= 0.99) & ((found.scores[:, None] - scores).abs() < 1e-3)
    return np.array([len(ours) + len(theirs), close.any(1).sum() + close.any(0).sum()])


def compare(name, sizes, points, survive):
    sam, stock, package = built(name)
    images = photographs(sizes)
    settings = thresholds(sam, images, points, survive)
    engine = MaskEngine(sam, **settings)
    assert isinstance(engine.decoder, FoldedDecoder)
    generator = family.generator_of(package, stock, **settings)
    if name != 'sam2':
        same_input(generator, sam)
    total = np.zeros(2)
    for found, image in zip(engine.generate(images), images):
        expected = generator.generate(np.ascontiguousarray(image.permute(1, 2, 0)))
        assert found.size == tuple(image.shape[1:])
        total += matched(found, expected)
    assert total[1] >= 0.99 * total[0]
    return total[0]


MIXED = [(90, 131), (64, 64), (150, 70), (33, 47), (90, 131)]


@pytest.mark.parametrize('survive', [0.1, 0.5])
@pytest.mark.parametrize('name', ['hq_vit', 'sam2'])
def test_same_masks_as_the_package(name, survive):
    assert compare(name, MIXED, 10, survive) >= 40


@pytest.mark.slow
@pytest.mark.parametrize('survive, sizes', [(0.1, [(90, 131)]), (0.5, [(90, 131), (150, 70)])])
@pytest.mark.parametrize('name', ['hq_tiny', 'mobile'])
def test_same_masks_as_the_package_over_tiny_vit(name, survive, sizes):
    """Of 1024 pixels only, which takes a while."""
    assert compare(name, sizes, 6, survive) >= 2


@pytest.mark.parametrize('name', ['hq_vit', 'sam2'])
def test_the_plain_forward_of_an_encoder_gives_the_embeddings(name):
    """As the extractor uses it, with gradients."""
    encoder = built(name)[0].image_encoder
    images = torch.rand(2, 3, encoder.img_size, encoder.img_size, requires_grad=True)
    embeddings = encode_images(encoder, images)
    torch.testing.assert_close(encoder(images), embeddings.image)
    assert embeddings.finer
    encoder(images).sum().backward()
    assert images.grad.abs().sum() > 0


@pytest.mark.parametrize(
    'name', ['hq_vit', 'sam2', *(pytest.param(name, marks=pytest.mark.slow) for name in ('hq_tiny', 'mobile'))]
)
def test_the_feature_extractor_sees_what_the_engine_sees(name, monkeypatch):
    """On images of the encoder's own side, which nobody resizes; and on others it shows the image alone."""
    monkeypatch.setattr('mmsampriors.masks.sam.builders.SAM_BUILDERS', dict(SAM_BUILDERS))
    sam = built(name)[0]
    register_sam('of_a_family', lambda checkpoint=None: sam)
    extractor = build_part(MODELS, dict(type='SAMEncoderExtractor', model_type='of_a_family'))
    side = sam.image_encoder.img_size
    image = (torch.randint(0, 256, (1, 3, side, side)) / 255).requires_grad_()
    features = extractor(image)
    seen = encode_images(sam.image_encoder, to_encoder(list(255 * image.detach()), sam, side)).image
    torch.testing.assert_close(features, seen, rtol=1e-3, atol=1e-4)
    features.sum().backward()
    assert image.grad.abs().sum() > 0
    *_, rows, columns = extractor(torch.rand(1, 3, side // 2, side)).shape
    assert (rows, columns) == (features.shape[2] // (1 if name == 'sam2' else 2), features.shape[3])


def test_a_changed_decoder_of_another_family_is_refused():
    sam = built('hq_vit')[0]
    sam.mask_decoder.transformer.layers[0].cross_attn_token_to_image.k_proj = torch.nn.Sequential(torch.nn.Identity())
    with pytest.raises(ValueError, match='MaskDecoderHQ is not the mask decoder of its package as it is'):
        MaskEngine(sam, points_per_side=2).generate(photographs([(20, 30)]))

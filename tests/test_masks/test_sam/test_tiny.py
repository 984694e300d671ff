"""The small SAM of the package: its weights, its interfaces, its masks on a photograph."""

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import load_file, save_file
from segment_anything import SamAutomaticMaskGenerator, SamPredictor
from segment_anything.modeling import MaskDecoder, PromptEncoder, Sam, TwoWayTransformer
from skimage import data
from skimage.transform import resize

from mmsampriors.files import sha256_of
from mmsampriors.masks import MaskEngine
from mmsampriors.masks.sam.tiny import (
    BACKBONE,
    BACKBONE_HASH,
    EMBEDDING_DIM,
    IMAGE_SIZE,
    PYRAMID_CHANS,
    TINY_AUTOMATIC,
    TINY_CHECKPOINT,
    Lite0Pyramid,
    build_sam_tiny,
    imagenet_file,
    imagenet_weights,
    tiny_architecture,
)


def own_state():
    """Random weights, as a checkpoint holds them."""
    return {key: value for key, value in tiny_architecture().state_dict().items() if not key.startswith(BACKBONE)}


@pytest.fixture(scope='module')
def sam():
    torch.set_num_threads(1)
    return build_sam_tiny()


@pytest.fixture(scope='module')
def photograph():
    return (resize(data.coffee(), (160, 240), anti_aliasing=True) * 255).astype(np.uint8)


def test_has_the_interfaces_of_a_sam(sam):
    assert isinstance(sam, Sam) and not sam.training
    assert isinstance(sam.prompt_encoder, PromptEncoder)
    assert isinstance(sam.mask_decoder, MaskDecoder)
    assert isinstance(sam.mask_decoder.transformer, TwoWayTransformer)
    assert sam.image_encoder.img_size == IMAGE_SIZE
    with torch.no_grad():
        embedding = sam.image_encoder(torch.zeros(2, 3, IMAGE_SIZE, IMAGE_SIZE))
    assert embedding.shape == (2, EMBEDDING_DIM, *sam.prompt_encoder.image_embedding_size)
    assert sam.prompt_encoder.image_embedding_size == (IMAGE_SIZE // 8, IMAGE_SIZE // 8)


@torch.no_grad()
def test_the_pyramid_is_that_of_the_packages_network():
    network = timm.create_model('tf_efficientnet_lite0', pretrained=False)
    network.load_state_dict(imagenet_weights(network))
    pixels, expected = torch.randn(1, 3, 64, 96), []
    for stage in (1, 2, 4, 6):
        network.blocks[stage].register_forward_hook(lambda module, inputs, output: expected.append(output.clone()))
    network.eval()(pixels)
    for found, wanted, chans, stride in zip(Lite0Pyramid()(pixels), expected, PYRAMID_CHANS, (4, 8, 16, 32)):
        assert found.shape == (1, chans, 64 // stride, 96 // stride)
        torch.testing.assert_close(found, wanted, rtol=0, atol=1e-4 * wanted.abs().max().item())


def test_the_backbone_is_frozen_and_lets_gradients_through(sam):
    assert not any(p.requires_grad for p in sam.image_encoder.backbone.parameters())
    assert all(p.requires_grad for p in sam.image_encoder.neck.parameters())
    pixels = torch.randn(1, 3, IMAGE_SIZE, IMAGE_SIZE, requires_grad=True)
    sam.image_encoder(pixels).square().mean().backward()
    assert pixels.grad.abs().sum() > 0


def test_weights_are_half_precision_small_and_complete(sam):
    state = load_file(TINY_CHECKPOINT)
    assert TINY_CHECKPOINT.stat().st_size <= 12e6
    assert all(v.dtype == torch.float16 for v in state.values() if v.is_floating_point())
    own = {key for key in sam.state_dict() if not key.startswith(BACKBONE)}
    assert state.keys() == own and len(own) < len(sam.state_dict())
    assert all(v.isfinite().all() for v in state.values())
    assert all(p.dtype == torch.float32 for p in sam.parameters())


def test_a_checkpoint_must_exist_and_fit(tmp_path):
    with pytest.raises(FileNotFoundError, match='no weights of sam_tiny'):
        build_sam_tiny(tmp_path / 'absent.safetensors')
    state = own_state()
    state.pop('image_encoder.neck.pos_embed')
    save_file(state, tmp_path / 'short.safetensors')
    with pytest.raises(ValueError, match='(?s)short.safetensors holds no weights of sam_tiny .*pos_embed'):
        build_sam_tiny(tmp_path / 'short.safetensors')
    torch.save(tiny_architecture().state_dict(), tmp_path / 'sam_vit_b.pth')
    with pytest.raises(ValueError, match='sam_vit_b.pth holds no weights of sam_tiny .*goes with model_type vit_b'):
        build_sam_tiny(tmp_path / 'sam_vit_b.pth')


def test_another_checkpoint_is_taken_as_it_is(tmp_path):
    state = own_state()
    save_file(state, tmp_path / 'random.safetensors', {BACKBONE_HASH: sha256_of(imagenet_file())})
    loaded = build_sam_tiny(tmp_path / 'random.safetensors').state_dict()
    assert all(torch.equal(loaded[key], value) for key, value in state.items())


@pytest.mark.parametrize('metadata', [None, {BACKBONE_HASH: 'another'}])
def test_weights_over_another_backbone_are_refused(tmp_path, metadata):
    save_file(own_state(), tmp_path / 'other.safetensors', metadata)
    with pytest.raises(ValueError, match='other.safetensors was trained over a backbone of SHA-256'):
        build_sam_tiny(tmp_path / 'other.safetensors')


def test_stock_generator_finds_masks_and_always_the_same(sam, photograph):
    generator = SamAutomaticMaskGenerator(sam, **{**TINY_AUTOMATIC, 'points_per_side': 6})
    first, second = (generator.generate(photograph) for _ in range(2))
    assert len(first) >= 5
    assert [m['bbox'] for m in first] == [m['bbox'] for m in second]
    assert all(np.array_equal(a['segmentation'], b['segmentation']) for a, b in zip(first, second))
    assert np.any([m['segmentation'] for m in first], axis=0).mean() > 0.5


def test_a_click_finds_a_disc_and_a_box_is_taken(sam):
    """A plain scene no training saw: a bright disc on dark ground."""
    y, x = np.mgrid[:180, :256]
    disc = (y - 90) ** 2 + (x - 128) ** 2 < 45**2
    image = np.where(disc[..., None], [200, 150, 60], [40, 60, 90]).astype(np.uint8)
    predictor = SamPredictor(sam)
    predictor.set_image(image)
    masks, scores, _ = predictor.predict(np.array([[128, 90]]), np.array([1]))
    ious = (masks & disc).sum((1, 2)) / (masks | disc).sum((1, 2))
    assert ious.max() > 0.85
    assert ious[scores.argmax()] > 0.7
    boxed, score, logits = predictor.predict(box=np.array([83, 45, 173, 135]), multimask_output=False)
    assert boxed.shape == (1, 180, 256) and np.isfinite(score).all() and np.isfinite(logits).all()


def test_masks_do_not_follow_the_cells_of_the_embedding(sam):
    """At 384 pixels a multiple of 8 is the edge of a cell; chance puts an eighth of the borders there."""
    photo = (resize(data.coffee(), (256, IMAGE_SIZE), anti_aliasing=True) * 255).astype(np.uint8)
    (found,) = MaskEngine(sam, **TINY_AUTOMATIC).generate([torch.from_numpy(photo).permute(2, 0, 1)])
    assert len(found) >= 10
    counts = np.zeros(8)
    for axis in (1, 2):
        steps = (found.bitmaps.diff(dim=axis).sum((0, 3 - axis))).numpy()
        np.add.at(counts, (np.arange(len(steps)) + 1) % 8, steps)
    assert counts[0] / counts.mean() < 1.3, counts

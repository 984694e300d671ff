"""The small SAM of the package: its weights, its interfaces, its masks on a photograph."""

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from segment_anything import SamAutomaticMaskGenerator, SamPredictor
from segment_anything.modeling import MaskDecoder, PromptEncoder, Sam, TwoWayTransformer
from skimage import data
from skimage.transform import resize

from mmsampriors.masks.sam.tiny import (
    EMBEDDING_DIM,
    IMAGE_SIZE,
    TINY_AUTOMATIC,
    TINY_CHECKPOINT,
    build_sam_tiny,
    tiny_architecture,
)


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


def test_weights_are_half_precision_small_and_complete(sam):
    state = load_file(TINY_CHECKPOINT)
    assert TINY_CHECKPOINT.stat().st_size <= 12e6
    assert all(v.dtype == torch.float16 for v in state.values() if v.is_floating_point())
    assert state.keys() == sam.state_dict().keys()
    assert all(v.isfinite().all() for v in state.values())
    assert all(p.dtype == torch.float32 for p in sam.parameters())


def test_a_checkpoint_must_exist_and_fit(tmp_path):
    with pytest.raises(FileNotFoundError, match='train_sam_tiny'):
        build_sam_tiny(tmp_path / 'absent.safetensors')
    state = load_file(TINY_CHECKPOINT)
    state.pop('image_encoder.pos_embed')
    save_file(state, tmp_path / 'short.safetensors')
    with pytest.raises(ValueError, match='(?s)short.safetensors holds no weights of sam_tiny .*pos_embed'):
        build_sam_tiny(tmp_path / 'short.safetensors')
    torch.save(tiny_architecture().state_dict(), tmp_path / 'sam_vit_b.pth')
    with pytest.raises(ValueError, match='sam_vit_b.pth holds no weights of sam_tiny .*goes with model_type vit_b'):
        build_sam_tiny(tmp_path / 'sam_vit_b.pth')


def test_another_checkpoint_is_taken_as_it_is(tmp_path):
    state = tiny_architecture().state_dict()
    save_file(state, tmp_path / 'random.safetensors')
    loaded = build_sam_tiny(tmp_path / 'random.safetensors').state_dict()
    assert all(torch.equal(loaded[key], value) for key, value in state.items())


def test_a_window_embeds_like_the_whole_where_nothing_is_cut(sam):
    image = torch.randn(1, 3, IMAGE_SIZE, IMAGE_SIZE)
    with torch.no_grad():
        assert torch.equal(sam.image_encoder(image), sam.image_encoder(image, corner=(0, 0)))
        assert sam.image_encoder(image[..., :128, 64:], corner=(0, 4)).shape[-2:] == (8, 12)


def test_stock_generator_finds_masks_and_always_the_same(sam, photograph):
    generator = SamAutomaticMaskGenerator(sam, **TINY_AUTOMATIC)
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

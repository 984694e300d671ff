import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from segment_anything.modeling.image_encoder import get_rel_pos
from small_sam import CHANNELS, SIDE, small_sam

from mmsampriors.masks.sam import encoder as module
from mmsampriors.masks.sam.encoder import attend_with_bias, attend_with_wider_keys, encode_images, relative_positions


@pytest.mark.parametrize('attend', [attend_with_bias, attend_with_wider_keys])
@pytest.mark.parametrize('rel_pos', [True, False])
@pytest.mark.parametrize('cpu_bytes', [module.CPU_BYTES, 5000])
def test_is_stock_in_float64(monkeypatch, attend, rel_pos, cpu_bytes):
    monkeypatch.setattr(module, 'attend_with_bias', attend)
    monkeypatch.setattr(module, 'CPU_BYTES', cpu_bytes)
    encoder = small_sam().image_encoder.double()
    for block in encoder.blocks:
        block.attn.use_rel_pos = rel_pos
    images = torch.randn(2, 3, SIDE, SIDE, dtype=torch.float64)
    torch.testing.assert_close(encode_images(encoder, images).image, encoder(images), rtol=1e-9, atol=1e-9)


@settings(deadline=None, max_examples=20)
@given(heads=st.integers(1, 3), height=st.integers(1, 5), width=st.integers(1, 5), channels=st.integers(1, 6))
def test_attention_is_softmax_of_products_and_positions(heads, height, width, channels):
    tokens = height * width
    query, key, value = torch.randn(3, 2, heads, tokens, channels, dtype=torch.float64)
    rows = torch.randn(2, heads, tokens, height, dtype=torch.float64)
    columns = torch.randn(2, heads, tokens, width, dtype=torch.float64)
    expected = torch.empty_like(value)
    for q in range(tokens):
        logits = torch.stack(
            [
                0.3 * (query[:, :, q] * key[:, :, k]).sum(-1) + rows[:, :, q, k // width] + columns[:, :, q, k % width]
                for k in range(tokens)
            ],
            -1,
        )
        expected[:, :, q] = (logits.softmax(-1)[..., None] * value).sum(2)
    for attend in (attend_with_bias, attend_with_wider_keys):
        torch.testing.assert_close(attend(query, key, value, rows, columns, 0.3), expected)


@settings(deadline=None, max_examples=30)
@given(length=st.integers(1, 9), stored=st.integers(1, 20))
def test_relative_positions_are_those_that_stock_gathers(length, stored):
    embedding = torch.randn(stored, 3)
    expected = get_rel_pos(length, length, embedding).transpose(1, 2)
    assert relative_positions(embedding, length, torch.float32).equal(expected)


def test_lower_resolution():
    encoder = small_sam().image_encoder
    embedding = encode_images(encoder, torch.randn(1, 3, SIDE // 2, SIDE // 2)).image
    assert embedding.shape == (1, CHANNELS, 4, 4)
    assert embedding.isfinite().all()


class OtherEncoder(torch.nn.Module):
    img_size = SIDE

    def forward(self, images):
        return images[:, :, ::8, ::8]


def test_other_encoders_run_as_they_are():
    images = torch.randn(1, 3, SIDE, SIDE)
    assert encode_images(OtherEncoder(), images).image.equal(images[:, :, ::8, ::8])
    with pytest.raises(ValueError, match='OtherEncoder encodes images of 64 pixels only, found 32'):
        encode_images(OtherEncoder(), images[..., :32, :32])

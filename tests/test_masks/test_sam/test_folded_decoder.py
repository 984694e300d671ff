import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from segment_anything.modeling import MaskDecoder
from small_sam import CHANNELS, SIDE, small_sam
from torch import nn
from torch.nn import functional as F

from mmsampriors.masks.sam.decoders import PlainDecoder, SmoothedDecoder, build_decoder
from mmsampriors.masks.sam.encoder import Embeddings
from mmsampriors.masks.sam.folded_decoder import FoldedDecoder, _per_image


def inputs(sam, images, prompts, height, width, dtype=torch.float64):
    """Random embeddings of ``images`` images, and point prompts on each, image-major."""
    embeddings = torch.randn(images, CHANNELS, height, width, dtype=dtype)
    points = torch.rand(images * prompts, 1, 2) * SIDE
    sparse, dense = sam.prompt_encoder((points, torch.ones(len(points), 1)), None, None)
    position = sam.prompt_encoder.pe_layer((height, width))[None]
    dense = dense[:1, :, :1, :1].expand(1, -1, height, width)
    return embeddings, sparse.to(dtype), dense.to(dtype), position.to(dtype)


def stock(sam, embeddings, sparse, dense, position):
    """The decoder's own forward, image by image."""
    found = [
        sam.mask_decoder(embedding[None], position, prompts, dense.expand(len(prompts), -1, -1, -1), True)
        for embedding, prompts in zip(embeddings, sparse.chunk(len(embeddings)))
    ]
    return [torch.cat(part) for part in zip(*found)]


def every(rows, scores):
    return torch.arange(len(rows) * scores.shape[1])


def run(decoder, embeddings, sparse, dense, position):
    state = decoder.prepare(Embeddings(embeddings), dense, position)
    scores, prompts = decoder.decode(state, sparse)
    rows = torch.arange(len(sparse)).chunk(len(embeddings))
    masks = []
    for i, chosen in enumerate(rows):
        image = state.of_image(i)
        masks.append(decoder.masks(image, decoder.select(image, prompts, chosen, image.grid), every(chosen, scores)))
    return torch.cat(masks).unflatten(0, scores.shape), scores


@settings(deadline=None, max_examples=25)
@given(
    images=st.integers(1, 3),
    prompts=st.integers(1, 4),
    height=st.integers(1, 7),
    width=st.integers(2, 7),
    heads=st.sampled_from([1, 2, 4]),
    depth=st.integers(1, 3),
)
def test_folded_is_stock_in_float64(images, prompts, height, width, heads, depth):
    sam = small_sam(heads, depth)
    given_inputs = inputs(sam, images, prompts, height, width)
    sam.mask_decoder.double()
    decoder = build_decoder(sam, torch.float64)
    assert type(decoder) is FoldedDecoder
    masks, scores = run(decoder, *given_inputs)
    expected_masks, expected_scores = stock(sam, *given_inputs)
    torch.testing.assert_close(scores, expected_scores, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(masks, expected_masks, rtol=1e-9, atol=1e-8)


def smoothed(sam):
    """The same with the last two layers of the small SAM of the package."""
    sam.mask_decoder.output_upscaling.extend([nn.AvgPool2d(4), nn.Upsample(scale_factor=4, mode='bilinear')])
    return sam


@settings(deadline=None, max_examples=25)
@given(
    images=st.integers(1, 3),
    prompts=st.integers(1, 4),
    height=st.integers(1, 7),
    width=st.integers(2, 7),
    data=st.data(),
)
def test_smoothed_is_stock_in_float64(images, prompts, height, width, data):
    """Enlarged, of the whole grid; and of a corner of it, whose masks are those of the whole."""
    sam = smoothed(small_sam(2, 2))
    given_inputs = inputs(sam, images, prompts, height, width)
    sam.mask_decoder.double()
    decoder = build_decoder(sam, torch.float64)
    assert type(decoder) is SmoothedDecoder
    masks, scores = run(decoder, *given_inputs)
    enlarged = F.interpolate(masks, scale_factor=4, mode='bilinear')
    expected_masks, expected_scores = stock(sam, *given_inputs)
    torch.testing.assert_close(scores, expected_scores, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(enlarged, expected_masks, rtol=1e-9, atol=1e-8)
    corner = data.draw(st.integers(1, height)), data.draw(st.integers(1, width))
    embeddings, sparse, *others = given_inputs
    state = decoder.prepare(Embeddings(embeddings), *others)
    scores, prompted = decoder.decode(state, sparse)
    image, rows = state.of_image(0), torch.arange(prompts)
    part = decoder.masks(image, decoder.select(image, prompted, rows, corner), every(rows, scores))
    window = (slice(None), slice(corner[0]), slice(corner[1]))
    torch.testing.assert_close(part, masks[:prompts].flatten(0, 1)[window], rtol=1e-9, atol=1e-8)


@settings(deadline=None, max_examples=25)
@given(
    prompts=st.integers(1, 5),
    height=st.integers(1, 6),
    width=st.integers(1, 6),
    smooth=st.booleans(),
    activation=st.sampled_from([nn.GELU(), nn.GELU('tanh'), nn.ReLU(), nn.SiLU()]),
)
def test_activations_in_place_are_stock(prompts, height, width, smooth, activation):
    """GELU is done in place, others by their own forward."""
    sam = smoothed(small_sam()) if smooth else small_sam()
    sam.mask_decoder.output_upscaling[2] = sam.mask_decoder.output_upscaling[4] = activation
    given_inputs = inputs(sam, 1, prompts, height, width)
    sam.mask_decoder.double()
    decoder = build_decoder(sam, torch.float64)
    masks = run(decoder, *given_inputs)[0]
    if smooth:
        masks = F.interpolate(masks, scale_factor=4, mode='bilinear')
    torch.testing.assert_close(masks, stock(sam, *given_inputs)[0], rtol=1e-9, atol=1e-8)


@pytest.mark.parametrize(
    'last',
    [
        [nn.AvgPool2d(2), nn.Upsample(scale_factor=4, mode='bilinear')],
        [nn.AvgPool2d(4), nn.Upsample(scale_factor=4, mode='nearest')],
        [nn.AvgPool2d(4)],
    ],
)
def test_other_last_layers_are_left_to_stock(last):
    sam = small_sam()
    sam.mask_decoder.output_upscaling.extend(last)
    assert type(build_decoder(sam, torch.float32)) is PlainDecoder


@settings(deadline=None, max_examples=25)
@given(
    images=st.integers(1, 2),
    prompts=st.integers(1, 9),
    tokens=st.integers(1, 7),
    heads=st.sampled_from([1, 4]),
    columns=st.sampled_from([1, 5, 2048, 5000]),
    added=st.booleans(),
)
def test_products_with_what_an_image_shares(images, prompts, tokens, heads, columns, added):
    a = torch.randn(images * prompts, tokens, heads, 3, dtype=torch.float64)
    b = torch.randn(images, heads, 3, columns, dtype=torch.float64)
    before = torch.randn(images * prompts, tokens, heads, columns, dtype=torch.float64)
    expected = torch.einsum('qthc,qhcn->qthn', a, b.repeat_interleave(prompts, 0)) + (before if added else 0)
    torch.testing.assert_close(_per_image(a, b, before if added else None), expected)


def test_some_masks_of_some_prompts_of_one_image_are_upscaled_alone():
    sam = small_sam()
    given_inputs = inputs(sam, 2, 5, 8, 8, torch.float32)
    decoder = FoldedDecoder(sam, torch.float32)
    masks, _ = run(decoder, *given_inputs)
    state = decoder.prepare(Embeddings(given_inputs[0]), *given_inputs[2:])
    _, prompts = decoder.decode(state, given_inputs[1])
    wanted = torch.tensor([[False, True, False], [True, False, True]])
    image = state.of_image(1)
    selected = decoder.select(image, prompts, torch.tensor([6, 9]), (8, 8))
    which = wanted.flatten().nonzero().flatten()
    some = decoder.masks(image, selected, which)
    torch.testing.assert_close(decoder.masks(image, selected[1:], torch.tensor([0, 2])), some[1:])
    corner = decoder.masks(image, decoder.select(image, prompts, torch.tensor([6, 9]), (3, 5)), which)
    torch.testing.assert_close(corner, some[:, :12, :20])
    torch.testing.assert_close(some, masks[[6, 9]][wanted], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize('dtype, tolerance', [(torch.bfloat16, 0.1), (torch.float16, 0.02)])
def test_half_precision_is_close(dtype, tolerance):
    sam = small_sam()
    given_inputs = inputs(sam, 2, 6, 8, 8, torch.float32)
    masks, scores = run(FoldedDecoder(sam, dtype), *given_inputs)
    expected_masks, expected_scores = stock(sam, *given_inputs)
    assert (scores - expected_scores).abs().mean() < tolerance * expected_scores.std()
    assert (masks.float() - expected_masks).abs().mean() < tolerance * expected_masks.std()


def test_weights_are_read_at_each_call():
    sam = small_sam()
    given_inputs = inputs(sam, 1, 3, 8, 8, torch.float32)
    decoder = FoldedDecoder(sam, torch.float32)
    for parameter in sam.mask_decoder.parameters():
        parameter.mul_(1.1)
    torch.testing.assert_close(run(decoder, *given_inputs)[1], stock(sam, *given_inputs)[1], rtol=1e-4, atol=1e-4)


class OtherDecoder(MaskDecoder):
    """Predicts otherwise."""

    def predict_masks(self, **kwargs):
        masks, scores = super().predict_masks(**kwargs)
        return masks + 1, scores * 2


def other_class(decoder):
    decoder.__class__ = OtherDecoder


def exchanged_projection(decoder):
    """As fine-tuning by low-rank adapters leaves it: more than a matrix."""
    attention = decoder.transformer.layers[1].cross_attn_token_to_image
    attention.k_proj = torch.nn.Sequential(attention.k_proj, torch.nn.Tanh())


@pytest.mark.parametrize('change', [other_class, exchanged_projection])
def test_other_decoders_keep_their_own_forward(change):
    sam = small_sam()
    before = stock(sam, *(given_inputs := inputs(sam, 2, 3, 8, 8, torch.float32)))
    sam = copy.deepcopy(sam)
    change(sam.mask_decoder)
    decoder = build_decoder(sam, torch.float32)
    assert type(decoder) is PlainDecoder
    masks, scores = run(decoder, *given_inputs)
    expected_masks, expected_scores = stock(sam, *given_inputs)
    torch.testing.assert_close(masks, expected_masks)
    torch.testing.assert_close(scores, expected_scores)
    assert not torch.allclose(masks, before[0])

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from segment_anything.utils.amg import batched_mask_to_box, calculate_stability_score

from mmsampriors.masks.sam import ops
from mmsampriors.masks.sam.ops import cut, stability_scores, unpack

shapes = st.tuples(st.integers(0, 4), st.integers(1, 20), st.integers(1, 20))


def blobs(shape, seed):
    """Random logits, the first of them nowhere above zero."""
    logits = torch.randn(shape, generator=torch.Generator().manual_seed(seed)) * 3
    logits[:1] = -5
    return logits


@settings(deadline=None)
@given(shape=shapes, seed=st.integers(0, 1000), threshold=st.sampled_from([0.0, 0.7]))
def test_measures_are_stock(shape, seed, threshold):
    logits = blobs(shape, seed)
    expected = calculate_stability_score(logits, threshold, 1.0)
    torch.testing.assert_close(stability_scores(logits, threshold, 1.0), expected, equal_nan=True)
    assert cut(logits, threshold)[1].equal(batched_mask_to_box(logits > threshold).float())


@settings(deadline=None)
@given(shape=shapes, seed=st.integers(0, 1000))
def test_packing_keeps_every_bit(shape, seed):
    logits = blobs(shape, seed)
    packed, _ = cut(logits, 0.0)
    assert packed.shape == (shape[0], -(-shape[1] * shape[2] // 8)) and packed.dtype == torch.uint8
    assert unpack(packed, shape[1:]).equal(logits > 0)


@settings(deadline=None)
@given(
    shape=shapes,
    seed=st.integers(0, 1000),
    threshold=st.sampled_from([0.0, 0.7, -5.0]),
    dtype=st.sampled_from([torch.float32, torch.float64]),
)
def test_host_and_device_measure_alike(shape, seed, threshold, dtype):
    """The two ways, both on the CPU; logits that lie on the threshold are not above it."""
    logits = blobs(shape, seed).to(dtype)
    logits[..., 0] = threshold
    assert ops._count_on_host(logits, threshold).equal(ops._count_on_device(logits, threshold))
    assert all(a.equal(b) for a, b in zip(cut(logits, threshold), ops._cut_on_device(logits, threshold)))
    which = np.flatnonzero(np.random.default_rng(seed).random(shape[0]) < 0.5)
    for some, every in zip(cut(logits, threshold, which), cut(logits, threshold)):
        assert some.equal(every[which])

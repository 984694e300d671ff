import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from segment_anything.utils.amg import build_point_grid
from segment_anything.utils.transforms import ResizeLongestSide
from small_sam import SIDE, small_sam
from torch.nn import functional as F

from mmsampriors.masks.sam.ops import LogitResizer, point_grid, resized_shape, to_encoder

sizes = st.tuples(st.integers(1, 200), st.integers(1, 200))


@given(size=sizes, side=st.integers(16, 300))
def test_resized_shape_is_stock_and_at_least_1(size, side):
    stock = ResizeLongestSide.get_preprocess_shape(*size, side)  # 0 for a strip, which PyTorch cannot resize to
    assert resized_shape(size, side) == tuple(max(length, 1) for length in stock)


@pytest.mark.parametrize('points', [1, 2, 5, 32])
def test_point_grid_is_stock(points):
    np.testing.assert_allclose(point_grid(points).numpy(), build_point_grid(points), rtol=0, atol=1e-15)


@settings(deadline=None, max_examples=60)
@given(
    size=st.tuples(st.integers(4, 150), st.integers(4, 150)), low=st.tuples(st.integers(1, 130), st.integers(1, 130))
)
def test_logits_are_resized_as_stock(size, low):
    sam, logits = small_sam(), torch.randn(2, *low, dtype=torch.float64)
    expected = sam.postprocess_masks(logits[None], resized_shape(size, SIDE), size)[0]
    resizer = LogitResizer(low, SIDE, size, logits.device, torch.float64)
    torch.testing.assert_close(resizer(logits), expected)
    rows, columns = resizer.used
    torch.testing.assert_close(resizer(logits[:, :rows, :columns]), expected)


@settings(deadline=None, max_examples=30)
@given(
    size=st.tuples(st.integers(4, 150), st.integers(4, 150)),
    low=st.tuples(st.integers(1, 30), st.integers(1, 30)),
    stretched=st.booleans(),
)
def test_enlarging_joins_the_resizing(size, low, stretched):
    logits = torch.randn(2, *low, dtype=torch.float64)
    large = F.interpolate(logits[None], scale_factor=4, mode='bilinear')[0]
    options = dict(device=logits.device, dtype=torch.float64, stretched=stretched)
    expected = LogitResizer(tuple(large.shape[1:]), SIDE, size, **options)(large)
    resizer = LogitResizer(low, SIDE, size, **options, enlarged=4)
    torch.testing.assert_close(resizer(logits), expected)
    rows, columns = resizer.used
    torch.testing.assert_close(resizer(logits[:, :rows, :columns]), expected)


def test_large_matrices_are_multiplied_in_blocks():
    resizer = LogitResizer((256, 64), 1024, (1024, 500), 'cpu')
    assert len(resizer.rows) == 10 and len(resizer.columns) == 1
    assert all(used.stop - used.start < 30 for _, used, _ in resizer.rows)


def test_elsewhere_than_on_the_cpu_a_matrix_is_one_block():
    resizer = LogitResizer((256, 64), 1024, (1024, 500), 'meta')
    assert len(resizer.rows) == len(resizer.columns) == 1
    assert resizer(torch.empty(3, 256, 64, device='meta')).shape == (3, 1024, 500)
    assert resizer.used == LogitResizer((256, 64), 1024, (1024, 500), 'cpu').used


def test_images_of_the_encoders_size_are_normalised_as_stock():
    sam = small_sam()
    images = [torch.randint(0, 256, size).float() for size in ((3, 64, 40), (3, 33, 64), (3, 64, 64))]
    batch = to_encoder(images, sam, SIDE)
    for padded, image in zip(batch, images):
        assert padded.equal(sam.preprocess(image))


def test_other_images_are_resized_within_a_level():
    sam = small_sam()
    rng = np.random.default_rng(0)
    for size in ((90, 131), (200, 64), (31, 47)):
        image = rng.integers(0, 256, (*size, 3), dtype=np.uint8)
        stock = torch.from_numpy(ResizeLongestSide(SIDE).apply_image(image)).permute(2, 0, 1)
        ours = to_encoder([torch.from_numpy(image).permute(2, 0, 1).float()], sam, SIDE)[0]
        difference = (ours - sam.preprocess(stock.float())) * sam.pixel_std
        assert difference.abs().max() < 1.01
        # What is left are exact halves, which PIL's fixed-point weights and floats round apart.
        assert (difference.abs() > 0.5).float().mean() < 0.2


def test_bgr_models_get_bgr():
    sam = small_sam()
    image = torch.randint(0, 256, (3, SIDE, SIDE)).float()
    sam.image_format = 'BGR'
    assert to_encoder([image], sam, SIDE)[0].equal(sam.preprocess(image.flip(0)))

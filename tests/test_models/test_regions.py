import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmsampriors.masks import ImageMasks
from mmsampriors.models.regions import boundaries, paint, region_means, stack_masks


@st.composite
def batches(draw):
    """Features (N, C, H, W) and binary regions (N, K, H, W) in float64: overlaps, holes, empty regions, K of 0."""
    n, k, c = draw(st.integers(1, 3)), draw(st.integers(0, 4)), draw(st.integers(1, 3))
    h, w = draw(st.integers(1, 7)), draw(st.integers(1, 7))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**16)))
    density = draw(st.sampled_from([0., 0.2, 0.7, 1.]))
    regions = (torch.rand(n, k, h, w, generator=generator) < density).double()
    return torch.randn(n, c, h, w, generator=generator, dtype=torch.float64), regions


@settings(max_examples=40, deadline=None)
@given(batches())
def test_region_means_are_means_over_the_pixels_of_each_region(batch):
    features, regions = batch
    means = region_means(features, regions)
    for i in range(len(features)):
        for k, region in enumerate(regions[i]):
            pixels = [features[i, :, y, x] for y, x in region.nonzero().tolist()]
            expected = torch.stack(pixels).mean(0) if pixels else torch.zeros(features.shape[1], dtype=torch.float64)
            torch.testing.assert_close(means[i, k], expected)
    assert means.shape == (*regions.shape[:2], features.shape[1])


@settings(max_examples=20, deadline=None)
@given(batches(), st.integers(0, 2**16))
def test_region_means_weigh_pixels_by_soft_regions(batch, seed):
    features, regions = batch
    soft = regions * torch.rand(regions.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    means = region_means(features, soft)
    for i in range(len(features)):
        for k in range(soft.shape[1]):
            total = soft[i, k].sum()
            expected = (features[i] * soft[i, k]).sum((1, 2)) / total if total else torch.zeros_like(features[i, :, 0,
                                                                                                              0])
            torch.testing.assert_close(means[i, k], expected)


@settings(max_examples=40, deadline=None)
@given(batches())
def test_paint_gives_each_pixel_the_mean_vector_of_its_regions(batch):
    features, regions = batch
    vectors = region_means(features, regions)
    painted = paint(vectors, regions)
    n, c, h, w = features.shape
    for i in range(n):
        for y in range(h):
            for x in range(w):
                here = [vectors[i, k] for k in range(regions.shape[1]) if regions[i, k, y, x]]
                expected = torch.stack(here).mean(0) if here else torch.zeros(c, dtype=torch.float64)
                torch.testing.assert_close(painted[i, :, y, x], expected)


@settings(max_examples=40, deadline=None)
@given(batches())
def test_boundaries_compare_sets_of_regions_with_right_and_lower_neighbour(batch):
    _, regions = batch
    found = boundaries(regions)
    n, _, h, w = regions.shape
    assert found.shape == (n, 1, h, w) and found.dtype == regions.dtype
    for i in range(n):
        for y in range(h):
            for x in range(w):
                here = regions[i, :, y, x].tolist()
                others = [(y, x + 1)] * (x + 1 < w) + [(y + 1, x)] * (y + 1 < h)
                assert found[i, 0, y, x] == any(regions[i, :, v, u].tolist() != here for v, u in others)


def masks_of(*maps):
    return ImageMasks.from_masks(torch.stack([torch.as_tensor(m, dtype=torch.bool) for m in maps]))


def test_stack_masks_pads_images_to_the_largest_k_with_zero_rows():
    one, two = torch.rand(1, 4, 5) < 0.6, torch.rand(3, 4, 5) < 0.6
    batch = [ImageMasks.from_masks(one), ImageMasks.from_masks(two), ImageMasks.empty(4, 5)]
    stacked = stack_masks(batch, (4, 5))
    assert stacked.shape == (3, 3, 4, 5) and stacked.dtype == torch.float32
    for row, of_image in zip(stacked, batch):
        assert torch.equal(row[:len(of_image)].bool(), of_image.masks)
        assert not row[len(of_image):].any()


def test_stack_masks_of_images_without_masks_keeps_one_empty_row():
    assert stack_masks([ImageMasks.empty(4, 5)] * 2, (4, 5)).shape == (2, 1, 4, 5)


def test_stack_masks_leaves_what_pads_an_image_out_of_every_region():
    stacked = stack_masks([masks_of(torch.ones(3, 4))], (8, 8))
    assert stacked[..., :3, :4].all() and stacked.sum() == 12


def test_masks_larger_than_the_image_are_refused():
    with pytest.raises(ValueError, match='masks of 9x8 pixels came with an image of 8x8'):
        stack_masks([masks_of(torch.ones(9, 8))], (8, 8))


def test_empty_regions_give_no_nan_gradient():
    features = torch.randn(1, 2, 4, 4, requires_grad=True)
    regions = torch.zeros(1, 2, 4, 4)
    paint(region_means(features, regions), regions).sum().backward()
    assert torch.equal(features.grad, torch.zeros_like(features))

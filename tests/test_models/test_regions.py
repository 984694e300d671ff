import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mmsampriors.masks import ImageMasks, RunMasks
from mmsampriors.models.regions import Regions, boundaries, paint, region_means

FIELDS = ('bitmaps', 'scores', 'stability', 'boxes', 'areas')


@st.composite
def batches(draw):
    """Features (N, C, H, W) and binary regions (N, K, H, W) in float64: overlaps, holes, empty regions, K of 0."""
    n, k, c = draw(st.integers(1, 3)), draw(st.integers(0, 4)), draw(st.integers(1, 3))
    h, w = draw(st.integers(1, 7)), draw(st.integers(1, 7))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**16)))
    density = draw(st.sampled_from([0.0, 0.2, 0.7, 1.0]))
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
            expected = (
                (features[i] * soft[i, k]).sum((1, 2)) / total if total else torch.zeros_like(features[i, :, 0, 0])
            )
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


def regions_of(masks, height, width):
    return Regions(masks, torch.empty(len(masks), 3, height, width))


def test_stacked_pads_images_to_the_largest_k_with_empty_rows():
    one, two = torch.rand(1, 4, 5) < 0.6, torch.rand(3, 4, 5) < 0.6
    batch = [ImageMasks.from_masks(one), ImageMasks.from_masks(two), ImageMasks.empty(4, 5)]
    regions = regions_of(batch, 4, 5)
    assert regions.stacked.shape == (3, 3, 4, 5) and regions.stacked.dtype == torch.bool
    for row, of_image in zip(regions.stacked, batch):
        assert torch.equal(row[: len(of_image)], of_image.bitmaps)
        assert not row[len(of_image) :].any()
    assert regions.weights.dtype == torch.float32 and torch.equal(regions.weights.bool(), regions.stacked)


def test_stacked_of_images_without_masks_keeps_one_empty_row():
    assert regions_of([ImageMasks.empty(4, 5)] * 2, 4, 5).stacked.shape == (2, 1, 4, 5)


def test_what_pads_an_image_is_in_no_region():
    stacked = regions_of([masks_of(torch.ones(3, 4))], 8, 8).stacked
    assert stacked[..., :3, :4].all() and stacked.sum() == 12


def test_coverage_counts_each_pixel_once_and_images_alike():
    half = torch.zeros(2, 20, 20, dtype=torch.bool)
    half[0, :10] = half[1, :5] = True
    regions = regions_of([ImageMasks.from_masks(half), ImageMasks.empty(20, 20)], 20, 20)
    assert regions.coverage().item() == pytest.approx(0.25)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 12), st.integers(1, 9), st.integers(1, 11)), min_size=1, max_size=4),
    st.integers(0, 2**16),
)
def test_stored_masks_are_drawn_as_they_are_shown(images, seed):
    """Images of any number of masks, size, window and orientation, in one batch: against masks drawn one by one."""
    generator, batch = torch.Generator().manual_seed(seed), []
    for count, height, width in images:
        masks = RunMasks.from_masks(torch.rand(count, height + 2, width + 1, generator=generator) < 0.4)
        turns = torch.rand(4, generator=generator) < 0.5
        masks = masks.flip('vertical') if turns[0] else masks
        masks = masks.transpose() if turns[1] else masks
        masks = masks.crop(
            *torch.randint(0, 2, (2,), generator=generator).tolist(), masks.size[0] - 1, masks.size[1] - 1
        )
        masks = masks.flip('horizontal') if turns[2] else masks
        batch.append(masks.cut() if turns[3] else masks)
    plain = [ImageMasks(*(getattr(masks, name) for name in FIELDS)) for masks in batch]
    size = max(masks.size[0] for masks in batch), max(masks.size[1] for masks in batch)
    assert torch.equal(regions_of(batch, *size).stacked, regions_of(plain, *size).stacked)


def test_matrices_are_made_once():
    regions = regions_of([masks_of(torch.ones(8, 8))], 8, 8)
    assert regions.stacked is regions.stacked and regions.weights is regions.weights


def test_masks_larger_than_the_image_are_refused():
    with pytest.raises(ValueError, match='masks of 9x8 pixels came with an image of 8x8'):
        regions_of([masks_of(torch.ones(9, 8))], 8, 8).stacked


def shares(mask, rows, columns):
    """The share of each cell that a mask covers, cell by cell in float64: those of adaptive_avg_pool2d."""
    height, width = mask.shape
    edges = [
        [(i * size // cells, -(-(i + 1) * size // cells)) for i in range(cells)]
        for size, cells in ((height, rows), (width, columns))
    ]
    return torch.stack(
        [
            torch.stack([mask[top:bottom, left:right].double().mean() for left, right in edges[1]])
            for top, bottom in edges[0]
        ]
    )


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(0, 3), min_size=1, max_size=3),
    st.integers(1, 4),
    st.integers(1, 4),
    st.sampled_from([(1, 1), (3, 8), (4, 4), (8, 8), (5, 16)]),
    st.integers(0, 3),
    st.integers(0, 5),
    st.sampled_from([0.1, 0.9, 1.0]),
    st.integers(0, 2**16),
)
def test_grid_has_the_share_of_each_cell(counts, rows, columns, cell, more_rows, more_columns, density, seed):
    """Images of whole cells, which are counted eight pixels at a time, and others."""
    height, width = rows * cell[0] + more_rows, columns * cell[1] + more_columns
    generator = torch.Generator().manual_seed(seed)
    batch = [ImageMasks.from_masks(torch.rand(k, height, width, generator=generator) < density) for k in counts]
    regions = regions_of(batch, height, width)
    grid = regions.on_grid((rows, columns))
    assert grid.dtype == torch.float32 and grid.shape == (*regions.stacked.shape[:2], rows, columns)
    for row, masks in zip(grid, regions.stacked):
        for found, mask in zip(row, masks):
            torch.testing.assert_close(found.double(), shares(mask, rows, columns), atol=1e-6, rtol=0)


@pytest.mark.parametrize('height', [255, 256, 257])
def test_counts_of_high_cells_do_not_run_over(height):
    regions = regions_of([masks_of(torch.ones(height, 16))], height, 16)
    assert torch.equal(regions.on_grid((1, 2)), torch.ones(1, 1, 1, 2))


@pytest.mark.parametrize('count', [24, 25, 49, 64])
def test_boundaries_of_many_regions_are_exact_in_single_precision(count):
    """One pixel of one region more or less is a border, whichever the region."""
    regions = torch.ones(count, count, 3, 3)
    regions[torch.arange(count), torch.arange(count), 1, 1] = 0
    expected = torch.tensor([[0.0, 1, 0], [1, 1, 0], [0, 0, 0]])
    assert torch.equal(boundaries(regions), expected.expand(count, 1, 3, 3))


def test_empty_regions_give_no_nan_gradient():
    features = torch.randn(1, 2, 4, 4, requires_grad=True)
    regions = torch.zeros(1, 2, 4, 4)
    paint(region_means(features, regions), regions).sum().backward()
    assert torch.equal(features.grad, torch.zeros_like(features))

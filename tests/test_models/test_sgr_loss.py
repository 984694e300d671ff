import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import mmsampriors.models  # noqa: F401
from mmsampriors.masks import ImageMasks
from mmsampriors.models import Regions
from mmsampriors.models.losses import DistillationBatch, SGRLoss, pixel_relations, region_relations, unit
from mmsampriors.registry import MODELS, build_part


def cosine(a, b):
    return (a @ b / (a.norm() * b.norm())).item()


def naive(restored, refined, masks, size, min_area=1.0):
    """docs/how_it_works.md, SGR, by loops in float64: (region, pixel) losses. The image is a whole number of cells."""
    step = size[0] // restored.shape[2], size[1] // restored.shape[3]
    regions, pixels = [], []
    for f1, f2, of_image in zip(restored.double(), refined.double(), masks):
        grids = [
            mask.double().unflatten(1, (-1, step[1])).unflatten(0, (-1, step[0])).mean((1, 3))
            for mask in of_image.bitmaps
        ]
        grids = [grid for grid in grids if grid.sum() >= min_area]
        p1, p2 = ([(f * grid).sum((1, 2)) / grid.sum() for grid in grids] for f in (f1, f2))
        pairs = list(itertools.combinations(range(len(grids)), 2))
        difference = [abs(cosine(p1[j], p1[k]) - cosine(p2[j], p2[k])) for j, k in pairs]
        regions.append(sum(difference) / len(difference) if difference else 0.0)
        cells = list(zip(f1.flatten(1).T, f2.flatten(1).T))
        difference = [abs(cosine(u1, p) - cosine(u2, p)) for p in p2 for u1, u2 in cells]
        pixels.append(sum(difference) / len(difference) if difference else 0.0)
    return sum(regions) / len(regions), sum(pixels) / len(pixels)


def relate(loss, restored, refined, masks, size):
    """The losses for masks on images of ``size``."""
    return loss(batch_of(restored, refined, Regions(masks, torch.empty(len(masks), 3, *size))))


def batch_of(restored, refined, regions, image_weights=None):
    """Images that are their own features."""
    weights = torch.full((len(restored),), 1 / len(restored)) if image_weights is None else image_weights
    return DistillationBatch(restored, refined, restored, regions, weights, 1.0, None, extract=lambda images: images)


def random_masks(count, height, width, generator=None):
    density = torch.linspace(0.01, 0.9, max(count, 1))[:count, None, None]
    return ImageMasks.from_masks(torch.rand(count, height, width, generator=generator) < density)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.integers(0, 4), min_size=1, max_size=3),
    st.integers(1, 4),
    st.integers(1, 4),
    st.integers(2, 5),
    st.sampled_from([1, 2, 4]),
    st.sampled_from([0.3, 1.0, 2.5]),
    st.integers(0, 2**16),
)
def test_agrees_with_loops_over_masks_and_positions(counts, h, w, channels, step, min_area, seed):
    generator = torch.Generator().manual_seed(seed)
    size = (h * step, w * step)
    masks = [random_masks(count, *size, generator) for count in counts]
    restored, refined = torch.randn(2, len(counts), channels, h, w, generator=generator)
    losses = relate(SGRLoss(loss_weight=1.0, relative=False, min_area=min_area), restored, refined, masks, size)
    expected = naive(restored, refined, masks, size, min_area)
    assert losses['loss_region'].item() == pytest.approx(expected[0], abs=2e-5)
    assert losses['loss_pixel'].item() == pytest.approx(expected[1], abs=2e-5)


def random_case(counts, size=(24, 32), grid=(6, 8), channels=8):
    masks = [random_masks(count, *size) for count in counts]
    return torch.randn(len(counts), channels, *grid), torch.randn(len(counts), channels, *grid), masks, size


def total(losses):
    return sum(losses.values())


def test_weight_scales_and_switches_choose():
    case = random_case([4, 3])
    both, double = (
        relate(SGRLoss(loss_weight=1.0, relative=False), *case),
        relate(SGRLoss(loss_weight=2.0, relative=False), *case),
    )
    assert set(both) == {'loss_region', 'loss_pixel'}
    for name in both:
        torch.testing.assert_close(double[name], 2 * both[name])
    assert set(relate(SGRLoss(region=False), *case)) == {'loss_pixel'}
    assert set(relate(SGRLoss(pixel=False), *case)) == {'loss_region'}
    with pytest.raises(ValueError, match='spd.losses.sgr=None'):
        SGRLoss(region=False, pixel=False)


def test_a_relative_weight_is_multiplied_by_the_scale_of_the_moment():
    case = random_case([4, 3])
    loss, fixed = SGRLoss(loss_weight=0.5), relate(SGRLoss(loss_weight=0.5, relative=False), *case)
    loss.adaptive_weight.sums.copy_(torch.tensor([4.0, 1.0]))
    for name, value in relate(loss, *case).items():
        torch.testing.assert_close(value, fixed[name] / 2)


def test_equal_features_give_zero():
    restored, _, masks, size = random_case([4, 0, 2])
    restored.requires_grad_()
    losses = relate(SGRLoss(), restored, restored, masks, size)
    assert total(losses) == 0
    total(losses).backward()
    assert torch.equal(restored.grad, torch.zeros_like(restored))


@pytest.mark.parametrize('counts', [[0], [0, 0], [1]])
def test_too_few_masks_give_zero_and_a_gradient_that_is_no_nan(counts):
    restored, refined, masks, size = random_case(counts)
    restored.requires_grad_()
    losses = relate(SGRLoss(pixel=counts != [1]), restored, refined, masks, size)
    assert total(losses) == 0
    total(losses).backward()
    assert torch.equal(restored.grad, torch.zeros_like(restored))


def test_features_that_are_zero_give_no_nan():
    """After a ReLU whole positions are zero, and so may be a region."""
    restored, refined, masks, size = random_case([4])
    restored[..., :4] = 0
    masks[0].bitmaps[0, :, 16:] = False
    restored.requires_grad_()
    losses = relate(SGRLoss(), restored, refined, masks, size)
    total(losses).backward()
    assert total(losses).isfinite() and restored.grad.isfinite().all()


def test_only_the_restored_image_gets_a_gradient():
    restored, refined, masks, size = random_case([4, 3])
    restored.requires_grad_(), refined.requires_grad_()
    for loss in relate(SGRLoss(), restored, refined, masks, size).values():
        restored.grad = None
        loss.backward(retain_graph=True)
        assert refined.grad is None and restored.grad.abs().sum() > 0


def test_splitting_a_batch_over_devices_changes_nothing():
    restored, refined, masks, size = random_case([5, 0, 2, 9])
    whole = relate(SGRLoss(), restored, refined, masks, size)
    halves = [
        relate(SGRLoss(), restored[part], refined[part], masks[part], size) for part in (slice(0, 2), slice(2, 4))
    ]
    for name in whole:
        torch.testing.assert_close(whole[name], (halves[0][name] + halves[1][name]) / 2)


def test_padding_masks_and_masks_that_vanish_on_the_grid_do_nothing():
    restored, refined, masks, size = random_case([3])
    alone = relate(SGRLoss(), restored, refined, masks, size)
    dot = torch.zeros(1, *size, dtype=torch.bool)
    dot[0, 5, 5] = True
    with_dot = ImageMasks.from_masks(torch.cat([masks[0].bitmaps, dot]))
    for name, loss in relate(SGRLoss(), restored, refined, [with_dot], size).items():
        torch.testing.assert_close(loss, alone[name])
    other = random_case([11])
    batch = relate(SGRLoss(), torch.cat([restored, other[0]]), torch.cat([refined, other[1]]), masks + other[2], size)
    of_other = relate(SGRLoss(), *other)
    for name in alone:
        torch.testing.assert_close(batch[name], (alone[name] + of_other[name]) / 2)


def test_relations_do_not_depend_on_the_order_of_masks():
    restored, refined, masks, size = random_case([6])
    order, loss = torch.randperm(len(masks[0])), relate(SGRLoss(), restored, refined, masks, size)
    of_image = masks[0]
    shuffled = ImageMasks(
        of_image.bitmaps[order],
        of_image.scores[order],
        of_image.stability[order],
        of_image.boxes[order],
        of_image.areas[order],
    )
    for name, other in relate(SGRLoss(), restored, refined, [shuffled], size).items():
        torch.testing.assert_close(other, loss[name])


def test_masks_of_an_image_that_was_padded_fill_the_grid_from_the_top_left():
    restored, refined, _, size = random_case([1], size=(16, 16), grid=(4, 4))
    small = random_masks(4, 8, 12)
    padded = ImageMasks.from_masks(torch.nn.functional.pad(small.bitmaps, (0, 4, 0, 8)))
    for name, loss in relate(SGRLoss(), restored, refined, [small], size).items():
        torch.testing.assert_close(loss, relate(SGRLoss(), restored, refined, [padded], size)[name])


def in_double(restored, refined, masks, size):
    """The same as :func:`naive` for one image all of whose masks count, for grids of thousands of cells."""
    step = size[0] // restored.shape[2]
    grids = torch.nn.functional.avg_pool2d(masks[0].bitmaps.double(), step).flatten(1)
    cells = [features[0].double().flatten(1).T for features in (restored, refined)]
    pooled = [torch.nn.functional.normalize(grids @ f / grids.sum(1, keepdim=True), dim=1) for f in cells]
    pairs = torch.triu_indices(len(grids), len(grids), 1)
    region = (pooled[0] @ pooled[0].T - pooled[1] @ pooled[1].T).abs()[pairs[0], pairs[1]].mean()
    cells = [torch.nn.functional.normalize(f, dim=1) for f in cells]
    pixel = (cells[0] @ pooled[1].T - cells[1] @ pooled[1].T).abs().mean()
    return region.item(), pixel.item()


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
@pytest.mark.parametrize('grid', [8, 96])
def test_half_precision_features_are_pooled_in_single_precision(dtype, grid):
    """Regions of 4 cells and of thousands: sums of half precision numbers would drift."""
    size = (2 * grid, 2 * grid)
    small = torch.zeros(2, *size, dtype=torch.bool)
    small[0, :4, :4] = small[1, 4:8, 4:8] = True
    masks = [ImageMasks.from_masks(torch.cat([small, torch.rand(2, *size) < 0.5]))]
    restored = (torch.randn(1, 16, grid, grid) + 3).to(dtype)
    refined = (restored.float() + 0.3 * torch.randn(1, 16, grid, grid)).to(dtype)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        losses = relate(SGRLoss(loss_weight=1.0, relative=False), restored.requires_grad_(), refined, masks, size)
    step = relate(SGRLoss(loss_weight=1.0, relative=False), restored.detach().float(), refined.float(), masks, size)
    for name in losses:
        assert losses[name].dtype == torch.float32
        torch.testing.assert_close(losses[name], step[name], rtol=1e-5, atol=1e-7)
    expected = in_double(restored.detach(), refined, masks, size)
    if grid == 8:
        assert expected == pytest.approx(naive(restored.detach(), refined, masks, size))
    assert losses['loss_region'].item() == pytest.approx(expected[0], rel=1e-4)
    assert losses['loss_pixel'].item() == pytest.approx(expected[1], rel=1e-4)
    total(losses).backward()
    assert restored.grad.isfinite().all()


@pytest.mark.parametrize('relation', [region_relations, pixel_relations])
def test_opposite_vectors_are_as_far_apart_as_can_be(relation):
    vector = unit(torch.randn(1, 1, 4), 2)
    if relation is region_relations:
        ours, theirs = torch.cat([vector, vector], 1), torch.cat([vector, -vector], 1)
        loss = relation(ours, theirs, torch.tensor([2.0]))
    else:
        feature = vector.view(1, 4, 1)
        loss = relation(-feature, feature, vector, torch.tensor([1.0]))
    assert loss.item() == pytest.approx(2)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 3), st.integers(0, 2), st.sampled_from([0.0, 1e-3, 1.0, 1e4]), st.integers(0, 2**16))
def test_unit_is_normalize(channels, dim, scale, seed):
    vectors = scale * torch.randn(3, channels, 4, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    expected = torch.nn.functional.normalize(vectors, dim=dim)
    torch.testing.assert_close(unit(vectors, dim), expected)


def test_is_in_mmagics_registry():
    assert build_part(MODELS, dict(type='SGRLoss', loss_weight=0.2)).loss_weight == 0.2


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(1, 4), min_size=1, max_size=3), st.integers(0, 2**16))
def test_image_weights_agree_with_loops(counts, seed):
    torch.manual_seed(seed)
    restored, target, masks, size = random_case(counts)
    shares = torch.rand(len(counts))
    regions = Regions(masks, torch.empty(len(masks), 3, *size))
    losses = SGRLoss(loss_weight=2.0, relative=False)(batch_of(restored, target, regions, shares))
    expected = dict.fromkeys(('loss_region', 'loss_pixel'), 0.0)
    for index, share in enumerate(shares.tolist()):
        one = slice(index, index + 1)
        region, pixel = naive(restored[one], target[one], masks[one], size)
        for name, value in zip(expected, (region, pixel)):
            expected[name] += 2 * share * value
    assert {name: loss.item() for name, loss in losses.items()} == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize('options', [dict(min_area=-1), dict(loss_weight=-1)])
def test_options_are_checked(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        SGRLoss(**options)

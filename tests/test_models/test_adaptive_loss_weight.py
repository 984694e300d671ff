import pytest
import torch

from mmsampriors.models.losses import AdaptiveLossWeight, DistillationLoss


def norms_of(scale, weight, raw, factor=1.0):
    """Squared norms at the images of a loss that pulls ``raw`` by itself, and of a student's loss that pulls 1."""
    return (factor * weight * scale() * torch.tensor(raw)).square(), torch.full((len(raw),), factor**2)


def test_before_the_first_step_the_factor_is_next_to_nothing_and_then_exact():
    scale = AdaptiveLossWeight()
    assert 0 < scale() <= 1e-4
    scale.update(*norms_of(scale, 0.1, [50.0, 50.0]), weight=0.1)
    torch.testing.assert_close(scale(), torch.tensor(1 / 50))
    assert not scale().requires_grad


@pytest.mark.parametrize('momentum', [0.02, 1.0])
def test_the_factor_follows_the_root_mean_square_of_the_steps(momentum):
    scale, raw, weights, squares = AdaptiveLossWeight(momentum), [4.0, 4.0, 9.0, 1.0, 30.0], 0.0, 0.0
    for pull in raw:
        scale.update(*norms_of(scale, 0.5, [pull]), weight=0.5)
        weights = (1 - momentum) * weights + momentum
        squares = (1 - momentum) * squares + momentum * pull**2
        torch.testing.assert_close(scale(), torch.tensor((weights / squares) ** 0.5))


def test_one_step_out_of_line_does_not_make_the_factor_jump():
    scale = AdaptiveLossWeight()
    for _ in range(200):
        scale.update(*norms_of(scale, 1.0, [10.0]), weight=1.0)
    before = scale()
    scale.update(*norms_of(scale, 1.0, [20.0]), weight=1.0)
    assert 0.95 * before < scale() < before
    scale.update(*norms_of(scale, 1.0, [1e-3]), weight=1.0)
    assert scale() < before


def test_what_multiplies_both_losses_cancels():
    scales = [AdaptiveLossWeight(), AdaptiveLossWeight()]
    for step, pull in enumerate([5.0, 7.0, 6.0]):
        for scale, factor in zip(scales, (1.0, 65536.0 / 2**step)):
            scale.update(*norms_of(scale, 0.1, [pull, pull], factor), weight=0.1)
    torch.testing.assert_close(scales[0](), scales[1]())


def test_images_without_a_gradient_count_for_nothing():
    scale = AdaptiveLossWeight()
    scale.update(*norms_of(scale, 0.1, [8.0, 0.0, 0.0]), weight=0.1)
    torch.testing.assert_close(scale(), torch.tensor(1 / 8))


@pytest.mark.parametrize(
    'pulls, students', [([0.0, 0.0], [1.0, 1.0]), ([1.0], [0.0]), ([float('inf')], [1.0]), ([1.0], [float('nan')])]
)
def test_a_step_without_a_measurement_leaves_the_factor(pulls, students):
    scale = AdaptiveLossWeight()
    for measured in (False, True):
        if measured:
            scale.update(*norms_of(scale, 0.1, [8.0]), weight=0.1)
        before = scale()
        scale.update(torch.tensor(pulls), torch.tensor(students), weight=0.1)
        assert torch.equal(scale(), before)


def test_a_copy_goes_on_from_the_saved_state():
    scale, other = AdaptiveLossWeight(), AdaptiveLossWeight()
    scale.update(*norms_of(scale, 0.1, [8.0]), weight=0.1)
    other.load_state_dict(scale.state_dict())
    assert torch.equal(other(), scale())
    other.reset()
    assert torch.equal(other(), AdaptiveLossWeight()())


def test_the_parts_of_a_step_weigh_as_much_as_the_step():
    scales = {parts: AdaptiveLossWeight() for parts in (1, 8)}
    for pull in [10.0] * 60 + [20.0] * 20:
        for parts, scale in scales.items():
            for _ in range(parts):
                scale.update(*norms_of(scale, 1.0, [pull]), weight=1.0, step_fraction=1 / parts)
    assert 1 / 20 < scales[1]() < 1 / 10
    torch.testing.assert_close(scales[8](), scales[1](), rtol=0.01, atol=0)


def test_a_relative_loss_that_was_constant_in_a_step_leaves_the_factor():
    loss = DistillationLoss(loss_weight=0.5, relative=True)
    before = loss.adaptive_weight().clone()
    loss.adapt_weight(dict(student=torch.ones(2)), 'mine', 1.0, 1.0)
    assert torch.equal(loss.adaptive_weight(), before)

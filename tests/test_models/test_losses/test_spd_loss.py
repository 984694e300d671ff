import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import mmsampriors.models  # noqa: F401
from mmsampriors.models.losses.spd_loss import SPDLoss, pull_per_difference
from mmsampriors.registry import MODELS, build_part

STUDENTS = ['L1Loss', 'MSELoss', 'PSNRLoss', 'CharbonnierLoss']


def images(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.rand(shape, generator=generator, dtype=torch.float64) for _ in range(3)]


def gradient(restored, loss):
    restored = restored.clone().requires_grad_()
    loss(restored).backward()
    return restored.grad


def pixel_loss(name):
    return build_part(MODELS, dict(type=name))


@settings(deadline=None, max_examples=30)
@given(
    name=st.sampled_from(STUDENTS),
    weight=st.sampled_from([0.5, 1.0, 3.0]),
    seed=st.integers(0, 99),
    shape=st.tuples(st.integers(1, 3), st.sampled_from([1, 3]), st.integers(1, 9), st.integers(1, 9)),
)
def test_a_difference_pulls_as_hard_as_one_from_the_ground_truth(name, weight, seed, shape):
    restored, refined, gt = images(*shape, seed=seed)
    student, loss = pixel_loss(name), build_part(MODELS, dict(type='SPDLoss', loss_weight=weight))
    found = gradient(restored, lambda image: loss(image, refined, gt, student))
    of_gt = gradient(restored, lambda image: student(image, gt))
    for ours, theirs, one, other, truth in zip(found, of_gt, restored, refined, gt):
        expected = weight * theirs.norm() / (one - truth).norm() * (one - other)
        torch.testing.assert_close(ours, expected)


@pytest.mark.parametrize('name', ['MSELoss', 'PSNRLoss'])
def test_a_squared_loss_and_it_pull_towards_the_mixture(name):
    restored, refined, gt = images(2, 3, 8, 9)
    student, loss = pixel_loss(name), build_part(MODELS, dict(type='SPDLoss', loss_weight=3.0))
    both = gradient(restored, lambda image: student(image, gt) + loss(image, refined, gt, student))
    mixture = (gt + 3 * refined) / 4
    alone = gradient(restored, lambda image: student(image, gt))
    torch.testing.assert_close(both, 4 * alone * (restored - mixture) / (restored - gt))


def test_an_image_that_is_the_ground_truth_is_not_pulled_at():
    restored, refined, gt = images(2, 3, 4, 4)
    gt[0] = restored[0]
    student = pixel_loss('MSELoss')
    weights = pull_per_difference(restored, gt, student)
    assert weights[0] == 0 and weights[1] > 0
    found = gradient(restored, lambda image: build_part(MODELS, dict(type='SPDLoss'))(image, refined, gt, student))
    assert found.isfinite().all() and not found[0].any() and found[1].any()


def test_works_where_gradients_are_off_and_leaves_the_students_graph_alone():
    restored, refined, gt = images(1, 3, 4, 4)
    with torch.no_grad():
        loss = build_part(MODELS, dict(type='SPDLoss'))(restored, refined, gt, pixel_loss('L1Loss'))
    assert loss > 0 and not loss.requires_grad and not restored.requires_grad


def test_a_loss_of_its_own_replaces_the_distance():
    restored, refined, gt = images(2, 3, 8, 9)
    loss = build_part(MODELS, dict(type='SPDLoss', loss_weight=2.0, pixel_loss=dict(type='MSELoss')))
    torch.testing.assert_close(loss(restored, refined, gt, None), 2 * (restored - refined).square().mean())


def test_the_target_gets_no_gradient():
    restored, refined, gt = (image.float().requires_grad_() for image in images(1, 3, 4, 4))
    build_part(MODELS, dict(type='SPDLoss'))(restored, refined, gt, pixel_loss('L1Loss')).backward()
    assert refined.grad is None and gt.grad is None and restored.grad.any()


@pytest.mark.parametrize('pixel_loss', [None, dict(type='L1Loss')])
def test_images_without_ground_truth_count_as_images_with_one_would(pixel_loss):
    """Where each image comes with and without its ground truth, the loss is (1 + weight) times as large."""
    gt, restored, refined = torch.rand(3, 2, 3, 8, 9)
    restored[1], refined[1], gt[1] = restored[0].flip(-1), refined[0].flip(-1), gt[0].flip(-1)  # one unit
    loss = SPDLoss(2.0, pixel_loss)
    l1 = build_part(MODELS, dict(type='L1Loss'))
    alone = loss(restored, refined, gt, l1)
    both = loss(restored.repeat(2, 1, 1, 1), refined.repeat(2, 1, 1, 1), gt, l1, 0.25)
    torch.testing.assert_close(both, 1.25 * alone)


def test_the_gate_lets_through_what_is_closer_to_the_ground_truth():
    gt = torch.zeros(2, 3, 4, 4)
    restored = torch.full((3, 3, 4, 4), 0.5, requires_grad=True)
    refined = torch.full((3, 3, 4, 4), 0.9)
    refined[0, :, 1, 2] = 0.1
    l1 = build_part(MODELS, dict(type='L1Loss'))
    SPDLoss(gate=True)(restored, refined, gt, l1).backward()
    pulled = restored.grad.abs().sum(1) > 0
    assert pulled[0].nonzero().tolist() == [[1, 2]] and not pulled[1].any()
    assert pulled[2].all(), 'there is nothing to compare it with'
    SPDLoss()(restored, refined, gt, l1).backward()
    assert (restored.grad.abs().sum(1) > 0).all()

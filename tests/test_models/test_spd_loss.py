import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import mmsampriors.models  # noqa: F401
from mmsampriors.models.losses import DistillationBatch, SPDLoss, gradient_per_difference
from mmsampriors.registry import MODELS, build_part

STUDENTS = ['L1Loss', 'MSELoss', 'PSNRLoss', 'CharbonnierLoss']


def images(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.rand(shape, generator=generator, dtype=torch.float64) for _ in range(3)]


def gradient(restored, loss):
    restored = restored.clone().requires_grad_()
    loss(restored).backward()
    return restored.grad


def distil(loss, restored, refined, gt, student_loss, unlabeled_weight=1.0):
    """The loss of a batch."""
    batch = DistillationBatch(restored, refined, gt, None, None, unlabeled_weight, student_loss)
    return loss(batch)['loss_image']


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
    found = gradient(restored, lambda image: distil(loss, image, refined, gt, student))
    of_gt = gradient(restored, lambda image: student(image, gt))
    for ours, theirs, one, other, truth in zip(found, of_gt, restored, refined, gt):
        expected = weight * theirs.norm() / (one - truth).norm() * (one - other)
        torch.testing.assert_close(ours, expected)


@pytest.mark.parametrize('name', ['MSELoss', 'PSNRLoss'])
def test_a_squared_loss_and_it_pull_towards_the_mixture(name):
    restored, refined, gt = images(2, 3, 8, 9)
    student, loss = pixel_loss(name), build_part(MODELS, dict(type='SPDLoss', loss_weight=3.0))
    both = gradient(restored, lambda image: student(image, gt) + distil(loss, image, refined, gt, student))
    mixture = (gt + 3 * refined) / 4
    alone = gradient(restored, lambda image: student(image, gt))
    torch.testing.assert_close(both, 4 * alone * (restored - mixture) / (restored - gt))


def test_an_image_that_is_the_ground_truth_is_not_pulled_at():
    restored, refined, gt = images(2, 3, 4, 4)
    gt[0] = restored[0]
    student = pixel_loss('MSELoss')
    weights = gradient_per_difference(restored, gt, student)
    assert weights[0] == 0 and weights[1] > 0
    found = gradient(restored, lambda image: distil(SPDLoss(), image, refined, gt, student))
    assert found.isfinite().all() and not found[0].any() and found[1].any()


def test_works_where_gradients_are_off_and_leaves_the_students_graph_alone():
    restored, refined, gt = images(1, 3, 4, 4)
    with torch.no_grad():
        loss = distil(SPDLoss(), restored, refined, gt, pixel_loss('L1Loss'))
    assert loss > 0 and not loss.requires_grad and not restored.requires_grad


def test_a_loss_of_its_own_replaces_the_distance():
    restored, refined, gt = images(2, 3, 8, 9)
    loss = build_part(MODELS, dict(type='SPDLoss', loss_weight=2.0, pixel_loss=dict(type='MSELoss')))
    torch.testing.assert_close(distil(loss, restored, refined, gt, None), 2 * (restored - refined).square().mean())


def test_the_target_gets_no_gradient():
    restored, refined, gt = (image.float().requires_grad_() for image in images(1, 3, 4, 4))
    distil(SPDLoss(), restored, refined, gt, pixel_loss('L1Loss')).backward()
    assert refined.grad is None and gt.grad is None and restored.grad.any()


@pytest.mark.parametrize('pixel_loss', [None, dict(type='L1Loss')])
def test_images_without_ground_truth_count_as_images_with_one_would(pixel_loss):
    """Where each image comes with and without its ground truth, the loss is (1 + weight) times as large."""
    gt, restored, refined = torch.rand(3, 2, 3, 8, 9)
    restored[1], refined[1], gt[1] = restored[0].flip(-1), refined[0].flip(-1), gt[0].flip(-1)  # one unit
    loss = SPDLoss(2.0, pixel_loss)
    l1 = build_part(MODELS, dict(type='L1Loss'))
    alone = distil(loss, restored, refined, gt, l1)
    both = distil(loss, restored.repeat(2, 1, 1, 1), refined.repeat(2, 1, 1, 1), gt, l1, 0.25)
    torch.testing.assert_close(both, 1.25 * alone)


@pytest.mark.parametrize('name', STUDENTS)
def test_one_easy_pair_does_not_take_over_the_images_without_ground_truth(name):
    """A flat patch that is all but restored has a unit without bound."""
    generator = torch.Generator().manual_seed(0)
    gt, restored, refined = torch.rand(3, 5, 3, 8, 9, generator=generator)
    student, loss = pixel_loss(name), SPDLoss()

    def pull(pairs):
        return gradient(restored, lambda image: distil(loss, image, refined, pairs, student))[4].norm()

    usual = pull(gt[:4])
    for rms in (1e-3, 1e-6, 0.0):
        easy = torch.cat([restored[:1] + rms, gt[1:4]])
        assert pull(easy) < 1.5 * usual, rms
    assert pull(restored[:4]) == 0, 'no pair gives a unit'

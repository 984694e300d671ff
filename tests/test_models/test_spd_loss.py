import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import mmsampriors.models  # noqa: F401
from mmsampriors.models.losses import DistillationBatch, SPDLoss, gradient_per_difference, inverse_sums
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
def test_a_difference_has_the_gradient_norm_of_one_from_the_ground_truth(name, weight, seed, shape):
    restored, refined, gt = images(*shape, seed=seed)
    student, loss = pixel_loss(name), build_part(MODELS, dict(type='SPDLoss', loss_weight=weight))
    found = gradient(restored, lambda image: distil(loss, image, refined, gt, student))
    of_gt = gradient(restored, lambda image: student(image, gt))
    for ours, theirs, one, other, truth in zip(found, of_gt, restored, refined, gt):
        expected = weight * theirs.norm() / (one - truth).norm() * (one - other)
        torch.testing.assert_close(ours, expected)


@pytest.mark.parametrize('name', ['MSELoss', 'PSNRLoss'])
def test_a_squared_loss_and_it_lead_to_the_mixture(name):
    restored, refined, gt = images(2, 3, 8, 9)
    student, loss = pixel_loss(name), build_part(MODELS, dict(type='SPDLoss', loss_weight=3.0))
    both = gradient(restored, lambda image: student(image, gt) + distil(loss, image, refined, gt, student))
    mixture = (gt + 3 * refined) / 4
    alone = gradient(restored, lambda image: student(image, gt))
    torch.testing.assert_close(both, 4 * alone * (restored - mixture) / (restored - gt))


def test_an_image_that_is_the_ground_truth_has_no_gradient():
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
    if pixel_loss is None:
        units = gradient_per_difference(restored, gt, l1) * gt.numel()
        loss.measured.copy_(1e9 * inverse_sums(units))  # a long past like this
    alone = distil(loss, restored, refined, gt, l1)
    both = distil(loss, restored.repeat(2, 1, 1, 1), refined.repeat(2, 1, 1, 1), gt, l1, 0.25)
    torch.testing.assert_close(both, 1.25 * alone)


def step_of_one_pair(loss, student, seed=0, rms=None):
    """The gradient at a photograph without ground truth, beside one pair; ``rms``: of a pair that is that easy."""
    restored, refined, gt = images(2, 3, 6, 7, seed=seed)
    if rms is not None:
        gt[0] = restored[0] + rms
    return gradient(restored, lambda image: distil(loss, image, refined, gt[:1], student))[1].norm()


@settings(deadline=None, max_examples=60)
@given(
    name=st.sampled_from(STUDENTS),
    ordinary=st.integers(0, 60),
    exponent=st.floats(-9.0, -2.0),
)
def test_one_easy_pair_does_not_decide_for_the_photographs_even_in_a_batch_of_one(name, ordinary, exponent):
    """A flat patch that is all but restored has a unit without bound."""
    student = pixel_loss(name)
    loss, undisturbed = SPDLoss().double(), SPDLoss().double()
    for seed in range(ordinary):
        step_of_one_pair(loss, student, seed)
        step_of_one_pair(undisturbed, student, seed)
    usual = step_of_one_pair(undisturbed, student, ordinary)
    most = 1.2 * (1 + 1 / (ordinary + 1))  # its share in the steps until then; they differ by a little
    assert step_of_one_pair(loss, student, ordinary, 10**exponent) < most * usual
    assert step_of_one_pair(loss, student, ordinary, 0.0) < most * usual, 'a unit that is not counted'


def test_the_unit_of_photographs_goes_with_the_pairs_and_with_the_checkpoint():
    student, loss = pixel_loss('L1Loss'), SPDLoss()
    for seed in range(60):
        before = step_of_one_pair(loss, student, seed)
    resumed = SPDLoss()
    resumed.load_state_dict(loss.state_dict())
    assert step_of_one_pair(resumed, student, 60) == step_of_one_pair(loss, student, 60)
    for _ in range(300):  # the student gets better: after some 50 steps the unit is that of now
        found = step_of_one_pair(loss, student, 59, rms=0.01)
    assert found > 10 * before
    loss.reset_measured()
    assert not loss.measured.any()


@pytest.mark.parametrize('name', STUDENTS)
def test_the_unit_of_photographs_is_that_of_smaller_batches_and_patches_too(name):
    """Stages of progressive learning have batches of other sizes, and a resumed run other processes."""
    restored, _, gt = images(1, 3, 6, 7)
    refined = 2 * restored - gt  # as far away, so that photographs for pairs have that unit too
    student, loss = pixel_loss(name), SPDLoss().double()

    def unit(count, times):
        large, other, truth = (image.repeat(count, 1, times, times) for image in (restored, refined, gt))
        both = torch.cat([large, large]), torch.cat([other, other])
        found = gradient(both[0], lambda image: distil(loss, image, both[1], truth, student))
        return (found[-1] / (large[0] - other[0])).mean() * truth.numel()

    expected = unit(4, 2)
    torch.testing.assert_close([unit(4, 2), unit(1, 3), unit(1, 3)], [expected] * 3, rtol=1e-6, atol=0)

import mmsampriors.compat  # noqa: F401, I001
import pytest
import torch
from mmagic.registry import MODELS

import mmsampriors.models  # noqa: F401


@pytest.mark.parametrize('student', ['L1Loss', 'PSNRLoss', 'MSELoss'])
def test_is_the_students_own_pixel_loss_times_lambda(student):
    pixel_loss = MODELS.build(dict(type=student))
    restored, refined = torch.rand(2, 3, 8, 9), torch.rand(2, 3, 8, 9)
    loss = MODELS.build(dict(type='SPDLoss', loss_weight=0.3))(restored, refined, pixel_loss)
    torch.testing.assert_close(loss, 0.3 * pixel_loss(restored, refined))


def test_a_loss_of_its_own_replaces_the_students():
    restored, refined = torch.rand(2, 3, 8, 9), torch.rand(2, 3, 8, 9)
    loss = MODELS.build(dict(type='SPDLoss', loss_weight=2., pixel_loss=dict(type='MSELoss')))
    found = loss(restored, refined, student_loss=None)
    torch.testing.assert_close(found, 2 * (restored - refined).square().mean())


def test_the_target_gets_no_gradient():
    restored, refined = torch.rand(1, 3, 4, 4, requires_grad=True), torch.rand(1, 3, 4, 4, requires_grad=True)
    MODELS.build(dict(type='SPDLoss'))(restored, refined, MODELS.build(dict(type='L1Loss'))).backward()
    assert refined.grad is None
    torch.testing.assert_close(restored.grad, 0.5 * (restored - refined).sign() / restored.numel())

import mmsampriors.compat  # noqa: F401, I001
import pytest
import torch
from mmagic.registry import MODELS
from mmengine.optim import OptimWrapper
from torch.nn.utils import clip_grad_norm_, clip_grad_value_

import mmsampriors.models  # noqa: F401
from mmsampriors.engine.clipping import ClipByOwner


@pytest.fixture
def model(model_cfg):
    model = MODELS.build(model_cfg())
    for name, parameter in model.named_parameters():
        parameter.grad = torch.randn_like(parameter) * (1 if name.startswith('generator.') else 1000)
    return model


def norm(parameters):
    return torch.cat([parameter.grad.flatten() for parameter in parameters]).norm()


def test_a_large_gradient_of_the_refiner_leaves_the_students_alone(model):
    student, others = list(model.generator.parameters()), [*model.refiner.parameters(), *model.spf.parameters()]
    before = norm(student)
    returned = ClipByOwner(model, clip_grad_norm_)(model.parameters(), max_norm=before.item() / 2)
    torch.testing.assert_close(returned, before)
    torch.testing.assert_close(norm(student), before / 2)
    torch.testing.assert_close(norm(others), before / 2)


def test_one_norm_over_both_would_have_shrunk_the_student(model):
    before = norm(model.generator.parameters())
    clip_grad_norm_(model.parameters(), max_norm=before.item() / 2)
    assert norm(model.generator.parameters()) < before / 100


@pytest.mark.parametrize('part', ['generator', 'refiner'])
def test_one_owner_alone(model, part):
    parameters = list(getattr(model, part).parameters())
    before = norm(parameters)
    torch.testing.assert_close(ClipByOwner(model, clip_grad_norm_)(parameters, max_norm=1.), before)
    torch.testing.assert_close(norm(parameters), torch.ones(()))


def test_serves_mmengines_wrapper_for_norms_and_values(model):
    for kwargs, clip in ((dict(max_norm=1.), clip_grad_norm_), (dict(clip_value=0.1, type='value'), clip_grad_value_)):
        wrapper = OptimWrapper(torch.optim.SGD(model.parameters(), lr=1.), clip_grad=kwargs)
        assert wrapper.clip_func is clip
        wrapper.clip_func = ClipByOwner(model, wrapper.clip_func)
        wrapper.step()
    assert max(parameter.grad.abs().max() for parameter in model.parameters()) <= 0.1

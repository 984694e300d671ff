from contextlib import contextmanager

import mmengine.optim.optimizer.amp_optimizer_wrapper as amp
import pytest
import torch
from mmagic.structures import DataSample
from mmengine.optim import AmpOptimWrapper, OptimWrapper
from torch.nn.utils import clip_grad_norm_, clip_grad_value_

import mmsampriors.models  # noqa: F401
from mmsampriors.engine.hooks.schedule import _loss_factor
from mmsampriors.engine.optim import ClipByOwner
from mmsampriors.models import Phase
from mmsampriors.registry import MODELS


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
    torch.testing.assert_close(ClipByOwner(model, clip_grad_norm_)(parameters, max_norm=1.0), before)
    torch.testing.assert_close(norm(parameters), torch.ones(()))


def test_serves_mmengines_wrapper_for_norms_and_values(model):
    for kwargs, clip in ((dict(max_norm=1.0), clip_grad_norm_), (dict(clip_value=0.1, type='value'), clip_grad_value_)):
        wrapper = OptimWrapper(torch.optim.SGD(model.parameters(), lr=1.0), clip_grad=kwargs)
        assert wrapper.clip_func is clip
        wrapper.clip_func = ClipByOwner(model, wrapper.clip_func)
        wrapper.step()
    assert max(parameter.grad.abs().max() for parameter in model.parameters()) <= 0.1


class AmpOnCPU(AmpOptimWrapper):
    """With the real GradScaler, and autocast to half precision, which mmengine does on accelerators only."""

    @contextmanager
    def optim_context(self, model):
        with torch.autocast('cpu', self.cast_dtype):
            yield


def losses_of(model):
    gt = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    metainfo = dict(img_output_channel_order='RGB')
    samples = DataSample.stack([DataSample(gt_img=image, metainfo=metainfo) for image in gt])
    return sum(model(gt + 0.1, samples, mode='loss').values())


@pytest.fixture
def scaled(model_cfg, monkeypatch):
    """An SPDModel in its joint phase, and a wrapper that runs it in half precision, scales by 1024 and clips."""
    if not hasattr(torch.amp, 'GradScaler'):
        pytest.skip('this torch has no GradScaler for the CPU')
    monkeypatch.setattr(amp, 'is_cuda_available', lambda: True)
    monkeypatch.setattr(amp, 'GradScaler', lambda **kwargs: torch.amp.GradScaler('cpu', **kwargs))
    model = MODELS.build(model_cfg())
    torch.nn.init.normal_(model.spf.project.weight, std=0.1)
    model.train().enter(Phase(True, True, 1.0))
    wrapper = AmpOnCPU(
        loss_scale=dict(init_scale=1024.0),
        dtype='float16',
        clip_grad=dict(max_norm=1e-3),
        optimizer=torch.optim.AdamW(model.parameters(), lr=1e-3),
    )
    wrapper.clip_func = ClipByOwner(model, wrapper.clip_func)
    return model, wrapper


def step(model, wrapper):
    """One step; gives the weights that it moved, by their owners."""
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with wrapper.optim_context(model):
        loss = losses_of(model)
    wrapper.update_params(loss)
    return {name.split('.')[0] for name, value in model.state_dict().items() if not torch.equal(value, before[name])}


def test_clipping_sees_gradients_without_the_scalers_factor(scaled):
    model, wrapper = scaled
    losses_of(model).backward()
    owners = [[*model.generator.parameters()], [*model.spf.parameters(), *model.refiner.parameters()]]
    expected, logged = [norm(parameters) for parameters in owners], dict(model.gradient_norms)
    model.zero_grad()
    seen, clip = [], wrapper.clip_func.clip
    wrapper.clip_func.clip = lambda parameters, **kwargs: seen.append(clip(parameters, **kwargs))
    assert step(model, wrapper) == {'generator', 'spf', 'refiner'}
    torch.testing.assert_close(seen, expected, rtol=0.05, atol=0.0)
    assert _loss_factor(wrapper) == 1024
    for name, value in logged.items():
        torch.testing.assert_close(
            model.gradient_norms[name].sum().sqrt() / 1024, value.sum().sqrt(), rtol=0.05, atol=0.0
        )


@pytest.mark.parametrize('owner', ['generator', 'refiner', 'spf'])
def test_a_gradient_that_overflows_skips_the_step_of_both_owners(scaled, owner):
    model, wrapper = scaled
    overflow = next(getattr(model, owner).parameters()).register_hook(lambda gradient: gradient * float('inf'))
    assert step(model, wrapper) == set() and not wrapper.optimizer.state
    assert wrapper.loss_scaler.get_scale() == 512
    overflow.remove()
    assert step(model, wrapper) == {'generator', 'spf', 'refiner'}
    assert all(parameter.isfinite().all() for parameter in model.parameters())

import copy
from types import SimpleNamespace

import pytest
import torch
from mmagic.registry import MODELS
from mmagic.structures import DataSample
from torch import nn

import mmsampriors.models  # noqa: F401
from mmsampriors.engine.hooks import CompileHook
from mmsampriors.models import Phase


@MODELS.register_module(force=True)
class TwoConvolutions(nn.Module):
    """The smallest network: student and refiner share its code, as far as a compiler is concerned."""

    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 3, 3, padding=1)

    def forward(self, image):
        return image + self.last(self.first(image).relu())


@pytest.mark.parametrize('inject', ['feature', 'image'])
def test_compiled_networks_train_as_they_do_otherwise(model_cfg, inject):
    spd = dict(spf=dict(type='SPFUnit', channels=4, inject=inject), feature_extractor=None, losses=dict(sgr=None))
    plain = MODELS.build(model_cfg(spd, generator=dict(type='TwoConvolutions')))
    nn.init.normal_(plain.spf.project.weight)
    plain.train().enter(Phase(True, True, 1.0))
    compiled, names = copy.deepcopy(plain), list(plain.state_dict())
    hook, runner = CompileHook(backend='eager'), SimpleNamespace(model=compiled)
    hook.before_train(runner)
    assert list(compiled.state_dict()) == names
    for _ in range(3):
        gt = torch.rand(2, 3, 16, 24)
        samples = DataSample.stack(
            [DataSample(gt_img=image, metainfo=dict(img_output_channel_order='RGB')) for image in gt]
        )
        inputs = gt + 0.1 * torch.randn_like(gt)
        losses = [model(inputs, samples, mode='loss') for model in (plain, compiled)]
        for model, parts in zip((plain, compiled), losses):
            model.zero_grad()
            sum(parts.values()).backward()
        for name, loss in losses[0].items():
            torch.testing.assert_close(losses[1][name], loss)
        for one, other in zip(plain.parameters(), compiled.parameters()):
            assert one.grad.any()
            torch.testing.assert_close(other.grad, one.grad)
    assert torch._dynamo.utils.counters['stats']['unique_graphs'] >= 2
    hook.before_val(runner)
    assert compiled.generator._compiled_call_impl is None
    hook.after_val(runner)
    assert compiled.generator._compiled_call_impl is not None


def test_twenty_steps_compile_each_network_once_a_stage_and_shape(model_cfg):
    """SPF's features enter by a hook. One of its own at each call would be compiled anew, and soon no more."""
    torch._dynamo.reset()
    spd = dict(
        spf=dict(type='SPFUnit', channels=4), masks=dict(type='NoMasks'), feature_extractor=None, losses=dict(sgr=None)
    )
    model = MODELS.build(model_cfg(spd, generator=dict(type='TwoConvolutions'))).train()
    CompileHook(backend='eager').before_train(SimpleNamespace(model=model))
    counted = torch._dynamo.utils.counters
    counted.clear()
    for phase in (Phase(False, True, 0.0), Phase(True, False, 1.0)):
        model.enter(phase)
        for size in ((16, 24), (24, 16)):
            compiled = []
            for _ in range(5):
                gt = torch.rand(2, 3, *size)
                samples = [DataSample(gt_img=image, metainfo=dict(img_output_channel_order='RGB')) for image in gt]
                sum(model(gt, DataSample.stack(samples), mode='loss').values()).backward()
                compiled.append(counted['stats']['unique_graphs'])
            assert compiled[-1] == compiled[0], (phase.name, size, compiled)
    assert counted['frames']['total'] == counted['frames']['ok'] and counted['stats']['unique_graphs'] <= 2 * 2 * 2

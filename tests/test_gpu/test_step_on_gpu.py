"""A training step on the device beside the same step on the CPU, and what it must not do there."""

import copy
import gc
from types import SimpleNamespace

import pytest
import torch
from mmagic.structures import DataSample
from mmengine.hooks import Hook
from mmengine.optim import AmpOptimWrapper, OptimWrapper
from mmengine.registry import HOOKS
from mmengine.runner import Runner

import mmsampriors.engine  # noqa: F401
from mmsampriors.engine.hooks import CompileHook
from mmsampriors.masks import ImageMasks, RunMasks
from mmsampriors.models import Phase
from mmsampriors.registry import MODELS

JOINT, STUDENT = Phase(True, True, 1.0), Phase(True, False, 1.0)
SIZE = (48, 64)


def discs(height, width):
    """Overlapping masks, some pixels without."""
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing='ij')
    masks = [(y - height * i / 6) ** 2 + (x - width * (6 - i) / 6) ** 2 < (6 + 3 * i) ** 2 for i in range(6)]
    return RunMasks.pack(ImageMasks.from_masks(torch.stack(masks)))


def batch_of(device, count=2):
    """Degraded images and their samples, as the data preprocessor leaves them."""
    gt = torch.rand(count, 3, *SIZE)
    inputs = (gt + 0.1 * torch.randn_like(gt)).to(device)
    samples = []
    for image in gt:
        sample = DataSample(gt_img=image.to(device), metainfo=dict(img_output_channel_order='RGB'))
        sample.set_data(dict(masks=discs(*SIZE).to(device)))
        samples.append(sample)
    return inputs, DataSample.stack(samples)


@pytest.fixture
def model(model_cfg):
    """None of its weights is zero, so that each parameter gets a gradient."""
    model = MODELS.build(model_cfg())
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    model.train().enter(JOINT)
    return model


def losses_and_gradients(model, device):
    torch.manual_seed(1)
    model.zero_grad()
    inputs, samples = batch_of(device)
    losses = model(inputs, samples, mode='loss')
    sum(losses.values()).backward()
    gradients = {
        name: parameter.grad.cpu() for name, parameter in model.named_parameters() if parameter.grad is not None
    }
    return {name: loss.item() for name, loss in losses.items()}, gradients


def test_losses_and_gradients_of_a_joint_step_are_the_cpus(model, device, exact):
    expected_losses, expected = losses_and_gradients(model, 'cpu')
    other = copy.deepcopy(model).to(device)
    losses, gradients = losses_and_gradients(other, device)
    assert len(losses) >= 4 and losses == pytest.approx(expected_losses, rel=1e-3)
    assert gradients.keys() == expected.keys()
    for owner in ('generator', 'refiner', 'spf'):
        ours, theirs = (
            torch.cat([value.flatten() for name, value in part.items() if name.startswith(owner)])
            for part in (gradients, expected)
        )
        assert theirs.norm() > 0 and (ours - theirs).norm() < 1e-2 * theirs.norm(), owner


@pytest.mark.parametrize('dtype', ['bfloat16', 'float16'])
def test_losses_in_half_precision_are_near_those_in_float32(model, device, dtype):
    if dtype == 'bfloat16' and device.type == 'cuda' and not torch.cuda.is_bf16_supported():
        pytest.skip('this GPU has no bfloat16')
    model = model.to(device)
    expected, _ = losses_and_gradients(model, device)
    with torch.autocast(device.type, getattr(torch, dtype)):
        losses, gradients = losses_and_gradients(model, device)
    assert losses == pytest.approx(expected, rel=0.15, abs=1e-3)
    assert all(value.isfinite().all() for value in gradients.values())


@pytest.mark.gpu
def test_the_real_scaler_scales_skips_and_goes_on(model, device):
    model = model.to(device)
    wrapper = AmpOptimWrapper(optimizer=torch.optim.AdamW(model.parameters(), 1e-3), loss_scale='dynamic')

    def step(spoil=False):
        before = [parameter.detach().clone() for parameter in model.parameters()]
        inputs, samples = batch_of(device)
        with wrapper.optim_context(model):
            loss = sum(model(inputs, samples, mode='loss').values())
        wrapper.update_params(loss * float('inf') if spoil else loss)
        return any((parameter != one).any().item() for parameter, one in zip(model.parameters(), before))

    scale = wrapper.loss_scaler.get_scale()
    moved = [step() for _ in range(8)]  # the first scale may be too high for half precision
    assert moved[-1] and all(parameter.isfinite().all() for parameter in model.parameters())
    scale = wrapper.loss_scaler.get_scale()
    assert not step(spoil=True)
    assert wrapper.loss_scaler.get_scale() == scale / 2
    assert step()


@pytest.mark.gpu
@pytest.mark.parametrize('phase', [JOINT, STUDENT])
def test_a_step_does_not_wait_for_the_device(model, device, phase):
    model = model.to(device)
    model.enter(phase)
    wrapper = OptimWrapper(torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], 1e-4))
    batches = [batch_of(device) for _ in range(5)]
    for number, (inputs, samples) in enumerate(batches):
        if number == 3:  # the optimizer's state is there, and libraries have chosen their kernels
            torch.cuda.synchronize()
            torch.cuda.set_sync_debug_mode('error')
        try:
            losses = model(inputs, samples, mode='loss')
            wrapper.update_params(sum(losses.values()))
        finally:
            if number == len(batches) - 1:
                torch.cuda.set_sync_debug_mode('default')


@HOOKS.register_module(force=True)
class RefuseWaitingHook(Hook):
    """Makes waiting for the device an error in each step from the third on; the other hooks run outside of it."""

    priority = 'LOWEST'

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if runner.iter >= 3:
            torch.cuda.set_sync_debug_mode('error')


@HOOKS.register_module(force=True)
class AllowWaitingHook(Hook):
    """Ends what RefuseWaitingHook began."""

    priority = 'HIGHEST'

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        torch.cuda.set_sync_debug_mode('default')


@pytest.fixture
def run_cfg(runner_cfg, tmp_path):
    """A function that makes the config of a run whose masks are stored."""

    def make(name, hooks=(), max_iters=6, **others):
        cfg = runner_cfg(max_iters=max_iters, work_dir=tmp_path / name, **others)
        cfg.update(val_cfg=None, val_dataloader=None, val_evaluator=None)
        segmenter = dict(type='FelzenszwalbMasks', min_size=100)
        cfg['model']['spd']['masks'] = dict(type='CachedMasks', segmenter=segmenter, cache_dir=str(tmp_path / 'masks'))
        cfg['train_dataloader'].update(num_workers=2, persistent_workers=True)
        cfg['default_hooks'] = dict(
            logger=dict(type='LoggerHook', interval=100),
            checkpoint=dict(type='CheckpointHook', interval=2, by_epoch=False),
        )
        cfg['custom_hooks'] = [
            dict(type='mmsampriors.MaskCacheHook'),
            dict(type='mmsampriors.ExactResumeHook'),
            dict(type='mmsampriors.SPDScheduleHook', interval=100),
            *hooks,
        ]
        return cfg

    return make


@pytest.mark.gpu
def test_an_iteration_of_a_run_does_not_wait_for_the_device(run_cfg):
    """From the batch of the loader to the optimizer's step."""
    hooks = [dict(type='RefuseWaitingHook'), dict(type='AllowWaitingHook')]
    try:
        Runner.from_cfg(run_cfg('run', hooks)).train()
    finally:
        torch.cuda.set_sync_debug_mode('default')


@pytest.mark.gpu
def test_a_batch_is_sent_without_waiting(model, device):
    model = model.to(device)
    images = [torch.randint(0, 256, (3, *SIZE), dtype=torch.uint8) for _ in range(4)]

    def send():
        samples = [DataSample(gt_img=image.clone()) for image in images]
        return model.data_preprocessor(dict(inputs=list(images), data_samples=samples), True)

    send()
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode('error')
    try:
        sent = send()
    finally:
        torch.cuda.set_sync_debug_mode('default')
    for index, image in enumerate(images):
        torch.testing.assert_close(sent['inputs'][index].cpu(), image / 255)
        torch.testing.assert_close(sent['data_samples'].gt_img[index].cpu(), image / 255)


def test_a_killed_run_goes_on_as_if_nothing_had_been(run_cfg, tmp_path, device):
    """Four iterations, and two with two more after a resume; on a GPU sums may differ in the last bits."""
    ends = {}
    optim = dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=0.1, momentum=0.9))
    for name, iterations, resume in (('whole', 4, False), ('half', 2, False), ('half', 4, True)):
        runner = Runner.from_cfg(run_cfg(name, max_iters=iterations, resume=resume, optim_wrapper=optim))
        start = {key: value.cpu().clone() for key, value in runner.model.state_dict().items()}
        runner.train()
        assert next(runner.model.parameters()).device.type == device.type
        ends[name] = {key: value.cpu() for key, value in runner.model.state_dict().items()}
        if name == 'whole':
            begin = start
    for owner in ('generator', 'refiner', 'spf'):
        keys = [key for key, value in begin.items() if key.startswith(owner) and value.is_floating_point()]
        first, whole, resumed = (torch.cat([part[key].flatten() for key in keys]) for part in (begin, *ends.values()))
        assert (whole - first).norm() > 0
        assert (resumed - whole).norm() <= 0.02 * (whole - first).norm(), owner


def test_compiled_steps_are_compiled_once(model, device):
    """Twenty steps of a stage on one size of patches."""
    model = model.to(device)
    torch._dynamo.reset()
    hook = CompileHook(**({} if device.type == 'cuda' else dict(backend='eager')))
    hook.before_train(SimpleNamespace(model=model))
    counters, counts = torch._dynamo.utils.counters, []
    counters.clear()
    for _ in range(20):
        inputs, samples = batch_of(device)
        sum(model(inputs, samples, mode='loss').values()).backward()
        counts.append(counters['stats']['unique_graphs'])
    assert counts[0] >= 2 and counts[-1] == counts[1], counts


@pytest.mark.gpu
def test_memory_before_training_is_that_without_a_segmenter(run_cfg, tmp_path):
    """A SAM that filled the cache does not stay on the device."""
    held = []

    @HOOKS.register_module(force=True)
    class MemoryHook(Hook):
        priority = 'LOWEST'

        def before_train_iter(self, runner, batch_idx, data_batch=None):
            if runner.iter == 0:
                torch.cuda.empty_cache()
                held.append(torch.cuda.memory_allocated())

    for name, segmenter in (('plain', None), ('sam', dict(type='SAMMasks', model_type='tiny'))):
        gc.collect()  # what the last run left in cycles
        before = torch.cuda.memory_allocated()
        cfg = run_cfg(name, [dict(type='MemoryHook')], max_iters=2)
        if segmenter:
            masks = dict(type='CachedMasks', segmenter=segmenter, cache_dir=str(tmp_path / 'masks_of_sam'))
            cfg['model']['spd']['masks'] = masks
        Runner.from_cfg(cfg).train()
        held[-1] -= before
    assert held[1] - held[0] < 2**20, held

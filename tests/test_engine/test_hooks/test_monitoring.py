"""The hooks that watch a run: what they log, when they warn, what they stop."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmagic.structures import DataSample
from mmengine.config import Config
from mmengine.dataset import sampler as samplers
from mmengine.hooks import CheckpointHook, Hook
from mmengine.logging import MessageHub
from mmengine.registry import HOOKS
from mmengine.runner import Runner

import mmsampriors.engine  # noqa: F401
from mmsampriors.engine.hooks import FiniteLossHook, MaskCoverageHook, PSNRGainHook, RefinedPSNRHook, monitoring
from mmsampriors.models import NoMasks, Phase
from mmsampriors.models.batch import psnr_gain

JOINT, BEFORE = Phase(True, True, 1.0), Phase(True, True, 0.0)


def psnr(image, gt):
    return 10 * torch.log10(1 / (image - gt).square().mean()).item()


def test_decibels_gained_is_the_mean_difference_of_psnr():
    gt, restored, refined = torch.rand(3, 2, 3, 5, 7)
    expected = [psnr(*pair) for pair in zip(refined, gt)], [psnr(*pair) for pair in zip(restored, gt)]
    gained = psnr_gain(restored, refined, gt)
    assert gained.item() == pytest.approx((sum(expected[0]) - sum(expected[1])) / 2, abs=1e-4)
    assert psnr_gain(gt, gt, gt) == 0


@pytest.fixture
def runner():
    """What the hooks ask of a runner; ``warnings`` holds what was logged."""
    model = SimpleNamespace(
        phase=JOINT,
        refiner_gain=torch.tensor(0.5),
        coverage=torch.tensor(0.5),
        mask_source=object(),
        state_dict=lambda: {'generator.weight': torch.ones(2), 'steps': torch.tensor(3)},
    )
    warnings = []
    return SimpleNamespace(
        model=model,
        iter=0,
        max_iters=100,
        warnings=warnings,
        logger=SimpleNamespace(warning=warnings.append),
        hooks=[],
        message_hub=MessageHub(f'watching_{id(model)}'),
    )


def steps(hook, runner, count, **outputs):
    for _ in range(count):
        hook.after_train_iter(runner, runner.iter, dict(), outputs or dict(loss=torch.tensor(1.0)))
        runner.iter += 1


def test_a_refiner_that_is_no_better_is_warned_of_once_when_distillation_sets_in(runner):
    hook = PSNRGainHook(interval=2, readings=3)
    runner.model.psnr_gain, runner.model.phase = torch.tensor(-0.1), BEFORE
    steps(hook, runner, 20)
    assert not runner.warnings
    runner.model.phase = JOINT
    steps(hook, runner, 20)
    (warning,) = runner.warnings
    assert '-0.100 dB over the last 3 readings' in warning and 'model.spd.schedule.begin' in warning
    assert len(runner.message_hub.get_scalar('train/spd.psnr_gain').data[0]) == 20


def test_a_refiner_that_has_become_better_is_not(runner):
    hook = PSNRGainHook(interval=1, readings=3)
    runner.model.psnr_gain, runner.model.phase = torch.tensor(-9.0), BEFORE
    steps(hook, runner, 20)
    runner.model.psnr_gain = torch.tensor(0.01)
    steps(hook, runner, 3)
    runner.model.phase = JOINT
    steps(hook, runner, 20)
    runner.model.psnr_gain = torch.tensor(-9.0)  # what happens later is seen in the log
    steps(hook, runner, 20)
    assert not runner.warnings


def test_few_masks_are_warned_of_once_and_on_average(runner):
    hook = MaskCoverageHook(interval=1, readings=4)
    runner.model.mask_coverage = torch.tensor(0.05)
    steps(hook, runner, 3)
    runner.model.mask_coverage = torch.tensor(0.5)
    steps(hook, runner, 3)
    assert not runner.warnings
    runner.model.mask_coverage = torch.tensor(0.05)
    steps(hook, runner, 9)
    (warning,) = runner.warnings
    assert 'masks cover 5.0% of the pixels' in warning and 'model.spd.masks.source=gt' in warning


def test_masks_that_nobody_asked_for_are_not_missed(runner):
    runner.model.mask_source, runner.model.mask_coverage = NoMasks(), torch.tensor(0.0)
    steps(MaskCoverageHook(interval=1, readings=1), runner, 5)
    assert not runner.warnings


def test_weights_that_are_not_finite_are_not_saved(runner):
    hook, runner.hooks = FiniteLossHook(), [CheckpointHook(interval=3, by_epoch=False)]
    runner.model.state_dict = lambda: {'generator.weight': torch.tensor([1.0, float('nan')])}
    runner.message_hub.update_info('last_ckpt', 'work/iter_3.pth')
    steps(hook, runner, 2)
    message = 'iteration 3: 1 weights.*generator.weight.*before is work/iter_3.pth.*optimizer.lr'
    with pytest.raises(FloatingPointError, match=message):
        steps(hook, runner, 1)


def test_weights_that_are_not_finite_are_not_saved_at_the_end(runner):
    hook, runner.max_iters = FiniteLossHook(), 2
    runner.model.state_dict = lambda: {'generator.weight': torch.tensor([1.0, float('nan')])}
    steps(hook, runner, 1)
    with pytest.raises(FloatingPointError, match='iteration 2: 1 weights'):
        steps(hook, runner, 1)
    hook.after_train_epoch(runner)
    runner.hooks = [CheckpointHook(interval=1, by_epoch=True)]
    with pytest.raises(FloatingPointError, match='1 weights'):
        hook.after_train_epoch(runner)


def test_panels_of_images_that_are_degraded_as_they_are_loaded_have_the_name_of_the_ground_truth(monkeypatch):
    drawn = []
    monkeypatch.setattr(monitoring, '_panel', lambda output: 'panel')
    hook = monitoring.SPDVisualizationHook()
    hook.refined = SimpleNamespace(add_to=lambda outputs: None)
    runner = SimpleNamespace(iter=7, visualizer=SimpleNamespace(add_image=lambda *args: drawn.append(args)))
    hook.after_val_iter(runner, 0, outputs=[DataSample(metainfo=dict(gt_path='clean/a.png'))])
    assert drawn == [('spd_a', 'panel', 7)]


@HOOKS.register_module(force=True)
class PoisonHook(Hook):
    """Makes the student's weights infinite before the last iteration, and keeps what validation and test say."""

    priority = 'VERY_LOW'
    metrics, refined = [], []

    def before_val_epoch(self, runner):
        runner.model.refiner.register_forward_hook(lambda module, inputs, output: self.refined.append(output))

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if runner.iter == 3:
            runner.model.generator.intro.weight.data.fill_(float('inf'))

    def after_val_epoch(self, runner, metrics=None):
        self.metrics.append(dict(metrics))

    after_test_epoch = after_val_epoch


def test_a_run_logs_psnr_of_both_and_stops_where_its_loss_is_no_number(runner_cfg, monkeypatch):
    monkeypatch.setattr(monitoring, 'draw_panel', lambda rows: np.zeros((8, 8, 3), np.uint8))
    ours = [f'mmsampriors.{name}' for name in ('SPDVisualizationHook', 'RefinedPSNRHook', 'FiniteLossHook')]
    cfg = runner_cfg(hooks=[dict(type=kind) for kind in (*ours, 'PoisonHook')])
    cfg['custom_hooks'] += [
        dict(type='mmsampriors.PSNRGainHook', interval=1),
        dict(type='mmsampriors.MaskCoverageHook', interval=1),
    ]
    for loader in ('train_dataloader', 'val_dataloader'):
        for step in cfg[loader]['dataset']['pipeline'][:2]:
            step['channel_order'] = 'bgr'
    cfg['val_evaluator'] = [dict(type='PSNR', crop_border=3)]
    runner = Runner.from_cfg(Config(cfg))
    PoisonHook.metrics.clear(), PoisonHook.refined.clear()
    with pytest.raises(FloatingPointError) as error:
        runner.train()
    message, folder = str(error.value), Path(cfg['work_dir'])
    names = message.split('images ')[1].split('. ')[0].split(', ')
    assert message.startswith('iteration 4: student.loss_recon is nan')
    assert len(names) == 2 and all(Path(name).is_file() and 'input' in name for name in names)
    assert 'There is no checkpoint yet.' in message and 'optim_wrapper.dtype=bfloat16' in message
    assert not list(folder.glob('iter_*')) and list(folder.glob('best_PSNR_iter_2*'))

    images = 4
    # Training goes on after validation, with two iterations.
    assert len(PoisonHook.refined) == images + 2, 'each image is refined once for all hooks'
    (metrics,) = PoisonHook.metrics
    assert set(metrics) == {'PSNR', 'refined/PSNR', 'refined/PSNR_gain'}
    assert metrics['refined/PSNR_gain'] == pytest.approx(metrics['refined/PSNR'] - metrics['PSNR'], abs=1e-4)
    scalars = {name: buffer.current() for name, buffer in runner.message_hub.log_scalars.items()}
    assert scalars['val/refined/PSNR'] == metrics['refined/PSNR']
    assert 0 < scalars['train/spd.mask_coverage'] <= 1 and 'train/spd.psnr_gain' in scalars
    assert refined_psnr(cfg, folder / 'best_PSNR_iter_2.pth') == pytest.approx(metrics['refined/PSNR'], abs=1e-3)


def refined_psnr(cfg, checkpoint):
    """By way of ``--refined``: a model that predicts refined images, and mmagic's metric."""
    cfg['model']['test_cfg'] = dict(refined=True)
    unused = ('train_cfg', 'train_dataloader', 'optim_wrapper', 'val_cfg', 'val_dataloader', 'val_evaluator')
    tester = Runner.from_cfg(
        Config(
            {
                **cfg,
                **dict.fromkeys(unused),
                'custom_hooks': [dict(type='PoisonHook')],
                'load_from': str(checkpoint),
                'experiment_name': cfg['experiment_name'] + 'refined',
                'test_dataloader': cfg['val_dataloader'],
                'test_evaluator': cfg['val_evaluator'],
                'test_cfg': dict(type='MultiTestLoop'),
            }
        )
    )
    tester.test()
    return PoisonHook.metrics[-1]['PSNR']


@pytest.mark.parametrize('size, world_size, batch', [(3, 2, 1), (5, 4, 2), (4, 2, 2), (1, 4, 1)])
def test_refined_psnr_takes_each_image_once_whatever_the_sampler_repeats(monkeypatch, size, world_size, batch):
    loaders = [SimpleNamespace(dataset=range(size)) for _ in range(2)]
    taken = []
    for rank in range(world_size):
        monkeypatch.setattr(monitoring, 'get_dist_info', lambda rank=rank: (rank, world_size))
        monkeypatch.setattr(samplers, 'get_dist_info', lambda rank=rank: (rank, world_size))
        hook = RefinedPSNRHook()
        hook.refined_images, hook.position_in = 0, {}
        for number, loader in enumerate(loaders):
            order = list(samplers.DefaultSampler(loader.dataset, shuffle=False, seed=0))
            for start in range(0, len(order), batch):
                images = [(number, index) for index in order[start : start + batch]]
                taken += hook._not_repeated(loader, images)
    assert sorted(taken) == [(number, index) for number in range(2) for index in range(size)]

"""--accumulate: the published total batch and updates on fewer GPUs."""

import copy
import re
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.model import ImgDataPreprocessor
from mmengine.registry import PARAM_SCHEDULERS, init_default_scope
from mmengine.runner import Runner

import mmsampriors
import mmsampriors.engine  # noqa: F401
from mmsampriors.checks import length_check
from mmsampriors.engine.optim import accumulate
from mmsampriors.models.schedules import TwoStageSchedule
from mmsampriors.registry import TASK_UTILS, build_part

SPD = Path(mmsampriors.__file__).resolve().parents[1] / 'configs' / 'spd'
PUBLISHED = sorted(path.stem for path in SPD.glob('*.py') if re.search(r'_\d+xb\d+-', path.stem))
TIMES = 8


class Updates(Hook):
    """Counts the optimizer's updates."""

    def before_train(self, runner):
        self.count, step = 0, runner.optim_wrapper.optimizer.step

        def counted(*args, **kwargs):
            self.count += 1
            return step(*args, **kwargs)

        runner.optim_wrapper.optimizer.step = counted


def trained(cfg):
    """Parameters before and after a run of two updates, in one vector each."""
    runner, updates = Runner.from_cfg(Config(cfg)), Updates()
    runner.register_hook(updates)
    start = torch.nn.utils.parameters_to_vector(runner.model.parameters()).detach().clone()
    runner.train()
    assert updates.count == 2
    return start, torch.nn.utils.parameters_to_vector(runner.model.parameters()).detach()


def both_ways(make, batch=4, times=2):
    """One batch an update, and ``times`` batches of the same size in all."""
    whole, parts = make(batch), Config(make(batch // times))
    accumulate(parts, times)
    return trained(whole), trained(parts.to_dict())


@pytest.fixture
def make(runner_cfg, tmp_path):
    """A function that makes the config of two updates with batches of a size, without validation."""

    def config_of(batch, schedule=None, **others):
        cfg = runner_cfg(
            max_iters=2,
            schedule=schedule,
            hooks=[dict(type='mmsampriors.ExactResumeHook')],
            work_dir=tmp_path / f'{batch}',
            optim_wrapper=dict(
                type='OptimWrapper',
                optimizer=dict(type='SGD', lr=0.1, momentum=0.9),
                clip_grad=dict(max_norm=0.5),
            ),
            **{**dict(val_cfg=None, val_dataloader=None, val_evaluator=None), **others},
        )
        cfg['train_dataloader']['batch_size'] = batch
        return cfg

    return config_of


@pytest.fixture
def float64(monkeypatch):
    """Networks that are built and fed in float64."""
    forward = ImgDataPreprocessor.forward

    def double(self, data, training=False):
        data = forward(self, data, training)
        return {**data, 'inputs': data['inputs'].double()}

    monkeypatch.setattr(ImgDataPreprocessor, 'forward', double)
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


def test_accumulated_batches_are_one_batch(make, float64):
    """NAFNet normalizes each pixel by itself: no image depends on the others of its batch."""

    def plain(batch):
        cfg = make(batch)
        cfg['model'] = {**cfg['model'], 'type': 'BaseEditModel'}
        del cfg['model']['spd']
        return {**cfg, 'custom_hooks': [hook for hook in cfg['custom_hooks'] if 'ExactResume' in hook['type']]}

    (start, whole), (same, parts) = both_ways(plain)
    assert whole.dtype == torch.float64 and torch.equal(start, same)
    assert (whole - start).norm() > 1e-3
    torch.testing.assert_close(parts, whole, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    'schedule', [dict(type='JointSchedule', begin=0.0, end=1.0), dict(type='TwoStageSchedule', refiner=0.5)]
)
def test_so_they_are_with_distillation(make, schedule):
    """Up to rounding. λ2 as a plain factor: measured by parts, a share differs a little."""

    def spd(batch):
        cfg = make(batch, schedule)
        cfg['model']['spd']['losses']['sgr']['relative'] = False
        return cfg

    (start, whole), (same, parts) = both_ways(spd)
    assert torch.equal(start, same)
    assert (parts - whole).norm() < 1e-4 * (whole - start).norm()


@pytest.mark.parametrize('name', PUBLISHED)
def test_one_gpu_has_the_published_batches_and_updates(name, monkeypatch):
    said = []
    monkeypatch.setattr(length_check, 'warn', said.append)
    published = Config.fromfile(SPD / f'{name}.py')
    ours = copy.deepcopy(published)
    gpus, images, thousands = map(int, re.search(r'_(\d+)xb(\d+)-.*-(\d+)k_', name).groups())
    assert gpus == TIMES
    accumulate(ours, TIMES)
    window = ours.optim_wrapper.accumulative_counts
    assert ours.train_dataloader.batch_size * window == gpus * images
    assert ours.train_cfg.max_iters / window == published.train_cfg.max_iters == 1000 * thousands
    assert ours.train_cfg.val_interval / window == published.train_cfg.val_interval
    hooks = [cfg.default_hooks.checkpoint.interval for cfg in (published, ours)]
    assert hooks[1] == hooks[0] * window
    if 'batch_sampler' in published.train_dataloader:
        before, after = (cfg.train_dataloader.batch_sampler for cfg in (published, ours))
        assert after.batch_sizes == before.batch_sizes and after.patch_sizes == before.patch_sizes
        assert [count / window for count in after.iters] == before.iters
    # Nothing is laid out for another length.
    length_check.check_length(ours)
    assert not said
    # The stages begin at the same updates.
    schedule = build_part(TASK_UTILS, ours.model.spd.schedule)
    assert isinstance(schedule, TwoStageSchedule)
    for share in (0, 0.124, 0.126, 0.624, 0.626, 0.999):
        update = round(share * published.train_cfg.max_iters)
        at = (update, published.train_cfg.max_iters), (update * window, ours.train_cfg.max_iters)
        assert schedule.phase(*at[0]) == schedule.phase(*at[1])


def rates(schedulers, steps):
    """The learning rate of each iteration."""
    init_default_scope('mmagic')
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    built = [PARAM_SCHEDULERS.build(dict(cfg, optimizer=optimizer)) for cfg in schedulers]
    found = []
    for _ in range(steps):
        found.append(optimizer.param_groups[0]['lr'])
        optimizer.step()
        for scheduler in built:
            scheduler.step()
    return torch.tensor(found)


@pytest.mark.parametrize(
    'schedulers',
    [
        [dict(type='CosineAnnealingLR', T_max=20, eta_min=0.01)],
        [dict(type='CosineAnnealingLR', begin=8, end=20, T_max=12)],
        [dict(type='LinearLR', start_factor=0.1, begin=0, end=5), dict(type='MultiStepLR', milestones=[9, 15])],
        [dict(type='StepLR', step_size=6)],
        [dict(type='ExponentialLR', gamma=0.8)],
        [dict(type='PolyLR', eta_min=0.01, begin=2, end=20)],
        [dict(type='CosineRestartLR', periods=[8, 12], restart_weights=[1, 0.5], eta_min=0.01)],
        [dict(type='OneCycleLR', total_steps=20, eta_max=2.0)],
        [dict(type='ConstantLR', factor=0.5, end=7)],
    ],
    ids=lambda schedulers: '+'.join(scheduler['type'] for scheduler in schedulers),
)
def test_learning_rates_are_those_of_the_updates(schedulers):
    """That of an update is the published one, or where rates change smoothly lies between it and the next."""
    cfg = Config(
        dict(
            train_cfg=dict(max_iters=20),
            optim_wrapper=dict(type='OptimWrapper'),
            train_dataloader=dict(batch_size=1),
            param_scheduler=[dict(scheduler, by_epoch=False) for scheduler in schedulers],
        )
    )
    published = rates(cfg.to_dict()['param_scheduler'], 20)
    assert len(published.unique()) > 1
    accumulate(cfg, TIMES)
    ours = rates(cfg.to_dict()['param_scheduler'], 20 * TIMES)[TIMES - 1 :: TIMES]
    steps = (published[1:] - published[:-1]).abs()
    assert torch.all((ours[:-1] - published[:-1]).abs() <= steps + 1e-6)


def test_what_else_counts_iterations_is_stretched_and_nothing_more():
    hooks = [
        dict(type='EMAHook', momentum=0.1, begin_iter=10),
        dict(type='EMAHook', ema_type='MomentumAnnealingEMA', gamma=100),
        dict(type='mmsampriors.PSNRGainHook', interval=10),
    ]
    cfg = Config(
        dict(
            train_cfg=dict(type='IterBasedTrainLoop', max_iters=100, val_begin=20, dynamic_intervals=[(80, 5)]),
            optim_wrapper=dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=1.0)),
            train_dataloader=dict(batch_size=4),
            param_scheduler=dict(type='MultiStepLR', milestones=[2, 3]),  # by epochs
            default_hooks=dict(
                checkpoint=dict(type='CheckpointHook', interval=10, by_epoch=False, save_begin=20),
                logger=dict(type='LoggerHook', interval=10),
            ),
            custom_hooks=hooks,
            auto_scale_lr=dict(base_batch_size=32),
        )
    )
    accumulate(cfg, 4)
    assert cfg.train_cfg == dict(
        type='IterBasedTrainLoop', max_iters=400, val_interval=4000, val_begin=80, dynamic_intervals=[(320, 20)]
    )
    assert cfg.param_scheduler.milestones == [2, 3]
    assert cfg.default_hooks.checkpoint == dict(type='CheckpointHook', interval=40, by_epoch=False, save_begin=80)
    assert cfg.default_hooks.logger.interval == 10 and cfg.custom_hooks[2] == hooks[2]
    assert cfg.custom_hooks[:2] == [
        dict(type='EMAHook', momentum=0.1, begin_iter=40, interval=4),
        dict(type='EMAHook', ema_type='MomentumAnnealingEMA', gamma=400, interval=4),
    ]
    # mmengine divides the batch of an iteration by it: 4 images, 16 an update.
    assert cfg.auto_scale_lr.base_batch_size == 32 / 4


@pytest.mark.parametrize(
    'change, times, said',
    [
        ({}, 0, 'at least 1, found 0'),
        (dict(train_cfg=dict(by_epoch=True, max_epochs=3)), 2, 'IterBasedTrainLoop'),
        (dict(train_cfg=None), 2, 'IterBasedTrainLoop'),
        (dict(optim_wrapper=dict(accumulative_counts=4)), 2, 'accumulative_counts=4: the config accumulates already'),
        (dict(param_scheduler=dict(type='ReduceLR', by_epoch=False)), 2, 'how to stretch param_scheduler ReduceLR; it'),
    ],
)
def test_what_cannot_be_stretched_is_refused(change, times, said):
    cfg = dict(train_cfg=dict(max_iters=8), optim_wrapper={}, train_dataloader=dict(batch_size=1))
    with pytest.raises(ValueError, match=said):
        accumulate(Config({**cfg, **change}), times)

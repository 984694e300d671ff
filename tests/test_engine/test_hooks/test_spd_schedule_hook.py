import copy
from types import SimpleNamespace

import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import EMAHook, Hook
from mmengine.optim import OptimWrapper
from mmengine.registry import HOOKS, OPTIM_WRAPPERS
from mmengine.runner import Runner

import mmsampriors.engine  # noqa: F401
from mmsampriors.engine.optim import ClipByOwner


@HOOKS.register_module(force=True)
class Witness(Hook):
    """Notes what each iteration logged, and the weights after it."""

    priority = 'LOWEST'

    def before_train(self, runner):
        self.logged, self.weights = [], [copy.deepcopy(runner.model.state_dict())]

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        scalars = runner.message_hub.log_scalars
        self.logged.append({name.removeprefix('train/'): buffer.current() for name, buffer in scalars.items()})
        self.weights.append(copy.deepcopy(runner.model.state_dict()))


def train(cfg):
    runner = Runner.from_cfg(Config(cfg))
    runner.train()
    return runner, next(hook for hook in runner.hooks if isinstance(hook, Witness))


def moved(before, after):
    moved = {name.split('.')[0] for name, value in after.items() if not torch.equal(value, before[name])}
    return moved - {'losses'}  # its scale, which is measured and not trained


def test_joint_schedule_ramps_logs_and_trains_both(runner_cfg):
    schedule = dict(type='JointSchedule', begin=0.25, end=0.75)
    _, witness = train(
        runner_cfg(
            schedule=schedule, hooks=[dict(type='Witness')], val_cfg=None, val_dataloader=None, val_evaluator=None
        )
    )
    assert [logged['spd.stage'] for logged in witness.logged] == [0] * 4
    assert [logged['spd.weight'] for logged in witness.logged] == pytest.approx([0, 0, 0.25, 0.5])
    assert [logged['sgr.weight'] for logged in witness.logged] == pytest.approx([0, 0, 0.05, 0.1])
    first, last = witness.logged[0], witness.logged[-1]
    assert {'student.loss_recon', 'refiner.loss_recon', 'grad.student'} <= set(first)
    assert not any(name.startswith(('sgr.loss', 'grad.s')) for name in set(first) - {'grad.student'})
    assert {'spd.loss_image', 'sgr.loss_region', 'sgr.loss_pixel', 'grad.spd', 'grad.sgr'} <= set(last)
    assert all(last[f'grad.{name}'] > 0 for name in ('student', 'spd', 'sgr'))
    for before, after in zip(witness.weights, witness.weights[1:]):
        assert moved(before, after) == {'generator', 'refiner', 'spf'}


@pytest.mark.parametrize('optim', [{}, dict(accumulative_counts=2)])
def test_two_stage_switches_in_the_middle_of_a_run(runner_cfg, optim):
    cfg = runner_cfg(schedule=dict(type='TwoStageSchedule', refiner=0.5), hooks=[dict(type='Witness')], max_iters=4)
    cfg['optim_wrapper'] = dict(
        optim, type='OptimWrapper', optimizer=dict(type='AdamW', lr=1e-3), clip_grad=dict(max_norm=0.1)
    )
    runner, witness = train(cfg)
    assert [logged['spd.stage'] for logged in witness.logged] == [1, 1, 2, 2]
    assert [logged['spd.weight'] for logged in witness.logged] == [0, 0, 0.5, 0.5]
    first, middle, last = witness.weights[0], witness.weights[2], witness.weights[4]
    assert moved(first, middle) == {'refiner', 'spf'}
    assert moved(middle, last) == {'generator'}
    assert isinstance(runner.optim_wrapper.clip_func, ClipByOwner)
    # The moments of what trains no more are gone.
    assert set(runner.optim_wrapper.optimizer.state) == set(runner.model.generator.parameters())


def test_a_warmup_comes_first_and_the_refiner_begins_with_what_the_student_learnt(runner_cfg):
    schedule = dict(type='TwoStageSchedule', refiner=0.25, warmup=0.5)
    runner, witness = train(runner_cfg(schedule=schedule, hooks=[dict(type='Witness')], max_iters=4))
    assert [logged['spd.stage'] for logged in witness.logged] == [3, 3, 1, 2]
    assert [logged['spd.weight'] for logged in witness.logged] == [0, 0, 0, 0.5]
    # What a stage does not compute is not logged in it.
    grads = [{name for name in logged if name.startswith('grad.')} for logged in witness.logged]
    assert grads == [{'grad.student'}] * 2 + [set(), {'grad.student', 'grad.spd', 'grad.sgr'}]
    losses = [{name.split('.')[0] for name in logged if '.loss' in name} for logged in witness.logged]
    assert losses == [{'student'}, {'student'}, {'refiner'}, {'student', 'spd', 'sgr'}]
    assert moved(witness.weights[0], witness.weights[2]) == {'generator'}
    assert moved(witness.weights[3], witness.weights[4]) == {'generator'}
    student, refiner = (
        {name.partition('.')[2]: value for name, value in weights.items() if name.startswith(owner)}
        for owner, weights in (('generator.', witness.weights[2]), ('refiner.', witness.weights[3]))
    )
    # One step of Adam away.
    assert max((refiner[name] - value).abs().max() for name, value in student.items()) < 1e-2
    first = runner.model.initial_student.state_dict()
    assert all(torch.equal(first[name], value) for name, value in student.items())


@HOOKS.register_module(force=True)
class AverageWitness(Hook):
    """Notes the averaged refiner, and the refiner that it is to be the average of, after each iteration."""

    priority = 'LOWEST'

    def before_train(self, runner):
        self.average = next(hook.ema_model.module for hook in runner.hooks if isinstance(hook, EMAHook))
        self.seen = []

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.seen.append([copy.deepcopy(model.refiner.state_dict()) for model in (self.average, runner.model)])


def test_the_averaged_refiner_begins_with_the_refiner(runner_cfg):
    """Momentum of EMA is small: what the average held before would stay in it for thousands of iterations."""
    hooks = [dict(type='EMAHook', momentum=1e-4), dict(type='AverageWitness')]
    schedule = dict(type='TwoStageSchedule', refiner=0.5, warmup=0.5)
    runner = Runner.from_cfg(Config(without_validation(runner_cfg(schedule=schedule, hooks=hooks, max_iters=4))))
    runner.train()
    seen = next(hook.seen for hook in runner.hooks if isinstance(hook, AverageWitness))
    (random, _), (average, refiner) = seen[1:3]
    to_random, to_refiner = (
        max((other[name] - value).abs().max() for name, value in average.items()) for other in (random, refiner)
    )
    assert to_refiner < 5e-3 < 0.05 < to_random  # a step of Adam


def without_validation(cfg):
    return {**cfg, 'val_cfg': None, 'val_dataloader': None, 'val_evaluator': None}


def test_a_stage_begins_with_a_window_of_accumulation(runner_cfg):
    """A switch within a window would leave half a step: gradients of one stage that are never used."""
    cfg = without_validation(
        runner_cfg(schedule=dict(type='TwoStageSchedule', refiner=0.5), hooks=[dict(type='Witness')], max_iters=6)
    )
    cfg['optim_wrapper']['accumulative_counts'] = 2
    _, witness = train(cfg)
    assert [logged['spd.stage'] for logged in witness.logged] == [1, 1, 1, 1, 2, 2]
    steps = [moved(before, after) for before, after in zip(witness.weights, witness.weights[1:])]
    assert steps == [set(), {'refiner', 'spf'}, set(), {'refiner', 'spf'}, set(), {'generator'}]


@pytest.mark.parametrize('share, window, words', [(0.01, 1, 'an iteration'), (0.25, 2, 'a step of 2 iterations')])
def test_a_stage_in_which_no_refiner_would_train_is_refused(runner_cfg, share, window, words):
    schedule = dict(type='TwoStageSchedule', refiner=share, warmup=0.25)
    cfg = without_validation(runner_cfg(schedule=schedule, max_iters=4))
    cfg['optim_wrapper']['accumulative_counts'] = window
    with pytest.raises(ValueError, match=f'of 4 iterations, is shorter than {words}: .*schedule.refiner'):
        Runner.from_cfg(Config(cfg)).train()


@OPTIM_WRAPPERS.register_module(force=True)
class ScaledOptimWrapper(OptimWrapper):
    """Scales the loss as AmpOptimWrapper does, which needs a GPU."""

    loss_scaler = SimpleNamespace(get_scale=lambda: 1024.0)

    def backward(self, loss, **kwargs):
        super().backward(loss * 1024, **kwargs)


def test_gradient_norms_are_logged_without_the_factors_of_scaler_and_accumulation(runner_cfg):
    norms = []
    for changes in ({}, dict(type='ScaledOptimWrapper', accumulative_counts=2)):
        cfg = without_validation(runner_cfg(hooks=[dict(type='Witness')], max_iters=2))
        cfg['optim_wrapper'].update(changes)
        first = train(cfg)[1].logged[0]
        norms.append([first[f'grad.{name}'] for name in ('student', 'spd', 'sgr')])
    assert norms[1] == pytest.approx(norms[0]) and min(norms[0]) > 0


def test_student_and_refiner_may_learn_at_their_own_rates(runner_cfg):
    cfg = without_validation(runner_cfg(hooks=[dict(type='Witness')], max_iters=1))
    cfg['optim_wrapper'] = dict(
        type='OptimWrapper',
        optimizer=dict(type='SGD', lr=0.1),
        clip_grad=dict(max_norm=0.1),
        paramwise_cfg=dict(custom_keys={'refiner.': dict(lr_mult=0.0), 'spf.': dict(lr_mult=0.5)}),
    )
    runner, witness = train(cfg)
    rates = {id(group['params'][0]): group['lr'] for group in runner.optim_wrapper.param_groups}
    found = {(name.split('.')[0], rates[id(parameter)]) for name, parameter in runner.model.named_parameters()}
    assert found == {('generator', 0.1), ('refiner', 0.0), ('spf', 0.05)}
    assert moved(*witness.weights) == {'generator', 'spf'}
    assert isinstance(runner.optim_wrapper.clip_func, ClipByOwner)


@pytest.mark.parametrize(
    'change, way_out',
    [
        (
            dict(
                custom_hooks=[
                    dict(type='mmsampriors.SPDScheduleHook'),
                    dict(type='ExponentialMovingAverageHook', module_keys='generator_ema'),
                ]
            ),
            "type='EMAHook'",
        ),
        (dict(compile=True), "type='mmsampriors.CompileHook'"),
        (dict(model_wrapper_cfg=dict(type='MMFullyShardedDataParallel')), "type='MMDistributedDataParallel'"),
        (
            dict(custom_hooks=[dict(type='mmsampriors.SPDScheduleHook'), dict(type='EMAHook', update_buffers=True)]),
            'leave update_buffers out',
        ),
    ],
)
def test_upstreams_ways_that_fail_with_spd_are_refused_with_those_that_work(runner_cfg, change, way_out):
    with pytest.raises(ValueError, match=way_out):
        Runner.from_cfg(Config({**runner_cfg(), **change})).train()


@pytest.mark.parametrize('resume', [False, True])
def test_the_scale_of_relations_goes_on_with_a_resumed_run_and_starts_anew_from_a_checkpoint(runner_cfg, resume):
    cfg = without_validation(runner_cfg(hooks=[dict(type='Witness')], max_iters=2))
    train(cfg)
    path = f'{cfg["work_dir"]}/iter_2.pth'
    scale = torch.load(path, weights_only=True)['state_dict']['losses.sgr.adaptive_weight.sums']
    assert scale.all()
    cfg = without_validation(runner_cfg(hooks=[dict(type='Witness')], max_iters=3, load_from=path, resume=resume))
    _, witness = train(cfg)
    share = witness.logged[0]['grad.sgr'] / witness.logged[0]['grad.student']
    # Of 0.1 on average; two batches are measured, and this is a third. Without a past it is next to nothing.
    assert 0.03 < share < 0.3 if resume else 0 < share < 0.01


def test_segmenter_and_feature_extractor_are_in_no_checkpoint_and_no_optimizer(runner_cfg):
    runner, _ = train(runner_cfg(hooks=[dict(type='Witness')], max_iters=2))
    checkpoint = torch.load(f'{runner.work_dir}/iter_2.pth', weights_only=True)
    assert {name.split('.')[0] for name in checkpoint['state_dict']} == {'generator', 'spf', 'refiner', 'losses'}
    optimized = {id(parameter) for group in runner.optim_wrapper.param_groups for parameter in group['params']}
    assert optimized == {id(parameter) for parameter in runner.model.parameters()}
    assert not optimized & {id(parameter) for parameter in runner.model.feature_extractor.build('cpu').parameters()}


def test_a_missing_weight_is_an_error_before_the_first_batch(runner_cfg):
    cfg = runner_cfg(hooks=[dict(type='Witness')])
    cfg['model']['spd']['feature_extractor'] = dict(type='VGGExtractor', weights='/no/such/file')
    runner = Runner.from_cfg(Config(cfg))
    with pytest.raises(FileNotFoundError, match='/no/such/file'):
        runner.train()
    assert runner.iter == 0


def test_hook_on_a_stock_model_is_refused(runner_cfg):
    cfg = runner_cfg()
    cfg['model'].update(type='BaseEditModel')
    del cfg['model']['spd']
    with pytest.raises(ValueError, match="model.type is 'BaseEditModel'"):
        Runner.from_cfg(Config(cfg)).train()


def test_a_resumed_run_enters_the_stage_it_left(runner_cfg):
    schedule = dict(type='TwoStageSchedule', refiner=0.5)
    cfg = runner_cfg(schedule=schedule, hooks=[dict(type='Witness')])
    train(cfg)
    work_dir = cfg['work_dir']
    cfg['default_hooks']['checkpoint']['interval'] = 3
    train(cfg)
    _, witness = train(
        {
            **cfg,
            'load_from': f'{work_dir}/iter_3.pth',
            'resume': True,
            'experiment_name': cfg['experiment_name'] + 'again',
        }
    )
    assert [logged['spd.stage'] for logged in witness.logged] == [2]
    assert moved(*witness.weights) == {'generator'}

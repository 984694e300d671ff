"""Runs that are killed and resumed, and runs of two processes, against one run that nobody disturbs.

The processes are forks of one that has imported mmagic already, so that they start at once.
"""

import json
import os
import random
import signal
from pathlib import Path

import mmengine.config.config
import mmengine.runner.runner
import pytest
import torch
import torch.distributed as dist
from mmagic.registry import MODELS
from mmengine.config import Config
from mmengine.dist import get_rank
from mmengine.hooks import Hook
from mmengine.registry import HOOKS, init_default_scope
from mmengine.runner import Runner
from networks import enlarging
from tool_processes import fork_server

import mmsampriors.engine  # noqa: F401
from mmsampriors.compat import apply_to_tools
from mmsampriors.data_preparation.degradations import LowresSettings, make_lowres
from mmsampriors.data_preparation.pairs import make_pairs
from mmsampriors.models.mask_sources import FelzenszwalbMasks

ROOT = Path(__file__).resolve().parents[2]


@HOOKS.register_module(force=True)
class KillHook(Hook):
    """kill -9 in the middle of an iteration (from 0)."""

    def __init__(self, iteration):
        self.iteration = iteration

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if runner.iter == self.iteration:
            os.kill(os.getpid(), signal.SIGKILL)


@HOOKS.register_module(force=True)
class KillOneHook(KillHook):
    """kill -9 of one process of a group."""

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if get_rank() == 3:
            super().before_train_iter(runner, batch_idx, data_batch)


@MODELS.register_module(force=True)
class NotedMasks(FelzenszwalbMasks):
    """Notes in a file each image that it segments."""

    def __init__(self, notes, **kwargs):
        super().__init__(**kwargs)
        self.notes = notes

    def segment(self, images, paths=()):
        with open(self.notes, 'a') as file:
            file.write('image\n' * len(images))
        return super().segment(images, paths)


@HOOKS.register_module(force=True)
class KillInValidationHook(Hook):
    """kill -9 in the middle of the validation after an iteration, whose checkpoint is there already."""

    def __init__(self, iteration):
        self.iteration = iteration

    def before_val_epoch(self, runner):
        if runner.iter == self.iteration:
            os.kill(os.getpid(), signal.SIGKILL)


@HOOKS.register_module(force=True)
class ReducerHook(Hook):
    """Notes whose parameters train in each iteration, and makes sure that the reducer holds these and no others."""

    priority = 'LOWEST'

    def before_train(self, runner):
        self.seen = []

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        trained = [name for name, parameter in runner.model.module.named_parameters() if parameter.requires_grad]
        assert runner.model._get_ddp_logging_data()['num_parameter_tensors'] == len(trained)
        assert not runner.model.find_unused_parameters
        self.seen.append(sorted({name.split('.')[0] for name in trained}))

    def after_train(self, runner):
        if dist.get_rank() == 0:
            Path(runner.work_dir, 'reducer.json').write_text(json.dumps(self.seen))


@HOOKS.register_module(force=True)
class MetricsHook(Hook):
    """Writes what validation says."""

    def after_val_epoch(self, runner, metrics=None):
        if get_rank() == 0:
            Path(runner.work_dir, 'metrics.json').write_text(json.dumps(metrics, default=float))


@pytest.fixture(scope='module')
def processes():
    """Starts processes that have mmagic at hand, on the CPU."""
    return fork_server()


def run(cfgs, rank=0, world_size=1, rendezvous=None):
    """Trains one config after the other, in a process of a group where there are several."""
    torch.set_num_threads(1)
    apply_to_tools()
    mmengine.config.config.FormatCode = lambda text, **kwargs: (text, True)
    mmengine.runner.runner.collect_env = dict
    init_default_scope('mmagic')
    if world_size > 1:
        os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(world_size))
        dist.init_process_group('gloo', init_method=f'file://{rendezvous}', rank=rank, world_size=world_size)
    for cfg in cfgs:
        Runner.from_cfg(Config(cfg)).train()


def join(processes, *all_arguments):
    """Runs :func:`run` once for each arguments, at the same time; gives the exit codes."""
    started = [processes.Process(target=run, args=arguments) for arguments in all_arguments]
    for process in started:
        process.start()
    for process in started:
        process.join(300)
        process.kill()
    return [process.exitcode for process in started]


def checkpoint_of(cfg, iteration):
    return torch.load(Path(cfg['work_dir']) / f'iter_{iteration}.pth', weights_only=True)


@pytest.fixture
def make_cfg(runner_cfg, pairs, tmp_path):
    """A function that makes the config of a run with everything that draws random numbers."""

    def make(name, schedule, max_iters, hooks=(), batch_size=2, workers=0, validate=False, **others):
        masks = dict(
            type='CachedMasks',
            segmenter=dict(type='FelzenszwalbMasks', min_size=100),
            cache_dir=str(tmp_path / 'masks'),
        )
        always = [
            dict(type='mmsampriors.MaskCacheHook'),
            dict(type='mmsampriors.ExactResumeHook'),
            dict(type='mmsampriors.UnlabeledHook', folders=[str(pairs / 'input')]),
            dict(type='mmsampriors.SPDScheduleHook', interval=1),
        ]
        scheduler = dict(type='CosineAnnealingLR', by_epoch=False, T_max=max_iters)
        cfg = runner_cfg(max_iters=max_iters, work_dir=tmp_path / name, param_scheduler=scheduler, **others)
        if not validate:
            cfg.update(val_cfg=None, val_dataloader=None, val_evaluator=None)
        cfg['custom_hooks'] = [*always, *hooks]
        cfg['default_hooks']['checkpoint'] = dict(type='CheckpointHook', interval=2, by_epoch=False)
        cfg['model']['spd'].update(masks=masks, schedule=schedule)
        loader = cfg['train_dataloader']
        loader.update(batch_size=batch_size, num_workers=workers)
        flip = dict(type='Flip', keys=['img', 'gt'], flip_ratio=0.5, direction='horizontal')
        loader['dataset']['pipeline'] = [*loader['dataset']['pipeline'][:-1], flip, dict(type='PackInputs')]
        return cfg

    return make


def assert_same(one, other, path=''):
    """Equal bit by bit, down to the leaves."""
    if isinstance(one, dict):
        assert one.keys() == other.keys(), path
        for key in one:
            assert_same(one[key], other[key], f'{path}.{key}')
    elif isinstance(one, (list, tuple)):
        assert len(one) == len(other), path
        for index, pair in enumerate(zip(one, other)):
            assert_same(*pair, f'{path}.{index}')
    elif isinstance(one, torch.Tensor):
        assert torch.equal(one, other), path
    else:
        assert one == other, path


def noisy_weights(cfg):
    """Initial weights of which none is zero, so that each of them moves."""
    state = MODELS.build(cfg['model']).state_dict()
    return {name: value + 0.1 * torch.randn_like(value) for name, value in state.items()}


def assert_trained_alike(initial, one, other):
    """Student, refiner and SPF unit went the same way, up to rounding."""
    for owner in ('generator', 'refiner', 'spf'):
        start, ours, theirs = (
            torch.cat([value.flatten() for key, value in state.items() if key.startswith(owner)])
            for state in (initial, one, other)
        )
        assert 0 < (ours - start).norm() and (ours - theirs).norm() < 1e-4 * (ours - start).norm(), owner


@pytest.mark.slow
def test_a_run_that_is_killed_twice_ends_with_the_same_bits(make_cfg, processes):
    """A warmup and two stages, averaged weights, workers: whatever has a state."""
    settings = dict(
        schedule=dict(type='TwoStageSchedule', refiner=0.25, warmup=0.25),
        max_iters=8,
        optim_wrapper=dict(type='OptimWrapper', optimizer=dict(type='AdamW', lr=1e-3), accumulative_counts=2),
    )
    average = dict(type='EMAHook', momentum=0.1)
    whole = make_cfg('whole', hooks=[average], **settings)
    run([whole])
    draw = random.Random(5)
    first, second = draw.randint(2, 3), draw.randint(5, 7)
    for number, kill in enumerate((first, second, None)):
        hooks = [average] + ([dict(type='KillHook', iteration=kill)] if kill else [])
        cfg = make_cfg(
            'killed',
            hooks=hooks,
            workers=int(number == 0),
            resume=number > 0,
            # A run without a seed of its own gets that of its checkpoint.
            randomness=dict(seed=None if number else 0),
            **settings,
        )
        assert join(processes, ([cfg],)) == [-signal.SIGKILL if kill else 0]
        last = Path(cfg['work_dir'], 'last_checkpoint').read_text()
        assert Path(last).name == f'iter_{kill - kill % 2 if kill else 8}.pth'
    ours, theirs = checkpoint_of(whole, 8), checkpoint_of(cfg, 8)
    owners = [name.split('.')[0] for name, _ in MODELS.build(whole['model']).named_parameters()]
    for iteration, trained in ((4, {'refiner', 'spf'}), (8, {'generator'})):
        state = checkpoint_of(cfg, iteration)['optimizer']['state']
        assert {owners[index] for index in state} == trained
    for key in ('state_dict', 'ema_state_dict', 'optimizer', 'param_schedulers', 'sampler_seed'):
        assert_same(ours[key], theirs[key], key)
    logs = [
        {
            name: buffer.data[0].tolist()
            for name, buffer in checkpoint['message_hub']['log_scalars'].items()
            if 'loss' in name or 'spd.' in name or 'sgr.' in name
        }
        for checkpoint in (ours, theirs)
    ]
    assert len(logs[0]) >= 8
    assert_same(*logs)


def test_runs_killed_while_they_validate_lose_no_best_checkpoint(make_cfg, processes):
    """Killed in the first of two validations and in the last, after which mmengine trains no more."""
    best = dict(type='CheckpointHook', interval=2, by_epoch=False, save_best='PSNR', rule='greater')
    exports = dict(type='mmsampriors.ExportStudentHook')

    def cfg_of(name, *hooks, **others):
        schedule = dict(type='TwoStageSchedule', refiner=0.25, warmup=0.25)
        cfg = make_cfg(name, schedule, max_iters=8, hooks=[exports, *hooks], validate=True, **others)
        cfg['train_cfg']['val_interval'] = 4
        cfg['default_hooks']['checkpoint'] = best
        return cfg

    whole = cfg_of('whole')
    assert join(processes, ([whole],)) == [0]
    for number, kill in enumerate((4, 8, None)):
        hooks = [dict(type='KillInValidationHook', iteration=kill)] if kill else []
        killed = cfg_of('killed', *hooks, resume=number > 0)
        assert join(processes, ([killed],)) == [-signal.SIGKILL if kill else 0]
    ours, theirs = (
        {path.name: path for path in Path(cfg['work_dir']).iterdir() if 'best' in path.name} for cfg in (whole, killed)
    )
    assert ours.keys() == theirs.keys() and len([name for name in ours if name.endswith('.pth')]) == 2
    for name in ours:
        if name.endswith('.pth'):
            assert_same(*(torch.load(one[name], weights_only=True)['state_dict'] for one in (ours, theirs)))


def test_two_processes_do_what_one_does_with_twice_the_batch(make_cfg, processes, tmp_path):
    """Both schedules, clipped, the second with a stage that would switch within a window of accumulation.

    The two checkpoint activations, and the one does not.
    """
    plans = {
        'joint': dict(schedule=dict(type='JointSchedule', begin=0.0, end=0.5), max_iters=4),
        'two_stage': dict(schedule=dict(type='TwoStageSchedule', refiner=0.5), max_iters=6),
    }
    initial = noisy_weights(make_cfg('initial', **plans['joint']))
    torch.save(dict(state_dict=initial), tmp_path / 'initial.pth')
    cfgs = {}
    for processes_of_run, batch_size in ((1, 4), (2, 2)):
        for name, plan in plans.items():
            optim = dict(
                type='OptimWrapper',
                optimizer=dict(type='SGD', lr=0.1, momentum=0.9),
                clip_grad=dict(max_norm=0.5),
                accumulative_counts=1 if name == 'joint' else 2,
            )
            hooks = [dict(type='mmsampriors.RefinedPSNRHook'), dict(type='MetricsHook')]
            if processes_of_run == 2:
                hooks += [dict(type='ReducerHook'), dict(type='mmsampriors.CheckpointActivationsHook')]
            cfgs[name, processes_of_run] = make_cfg(
                f'{name}_{processes_of_run}',
                hooks=hooks,
                batch_size=batch_size,
                optim_wrapper=optim,
                validate=name == 'joint',
                load_from=str(tmp_path / 'initial.pth'),
                model_wrapper_cfg=dict(type='MMDistributedDataParallel', device_ids=None),
                launcher='none' if processes_of_run == 1 else 'pytorch',
                **plan,
            )
    run([cfgs['joint', 1], cfgs['two_stage', 1]])
    resumed = {
        **cfgs['two_stage', 2],
        'resume': True,
        'load_from': str(tmp_path / 'two_stage_2' / 'iter_4.pth'),
        'work_dir': str(tmp_path / 'resumed'),
        'experiment_name': 'resumed',
    }
    both = [cfgs['joint', 2], cfgs['two_stage', 2], resumed]
    assert join(processes, *[(both, rank, 2, tmp_path / 'rendezvous') for rank in range(2)]) == [0, 0]
    for name, plan in plans.items():
        one, two = (checkpoint_of(cfgs[name, count], plan['max_iters'])['state_dict'] for count in (1, 2))
        assert_trained_alike(initial, one, two)
        key = 'losses.spd.measured'
        torch.testing.assert_close(one[key], two[key], rtol=1e-3, atol=0)
        key = 'losses.sgr.adaptive_weight.sums'
        scales = [checkpoint_of(cfgs[name, count], plan['max_iters'])['state_dict'][key] for count in (1, 2)]
        if name == 'joint':  # two micro-batches tell a mean of two ratios, and a batch one ratio
            torch.testing.assert_close(*scales, rtol=1e-3, atol=0)
        assert scales[0].all() and scales[1].all()
    one, two = (json.loads((tmp_path / f'joint_{count}' / 'metrics.json').read_text()) for count in (1, 2))
    # The segments of the restored images may flip with its last bit.
    assert set(one) == {'PSNR', 'refined/PSNR', 'refined/PSNR_gain'} and two == pytest.approx(one, abs=0.2)
    seen = [json.loads(Path(cfg['work_dir'], 'reducer.json').read_text()) for cfg in both]
    assert seen[0] == [['generator', 'refiner', 'spf']] * 4
    assert seen[1] == [['refiner', 'spf']] * 4 + [['generator']] * 2
    assert seen[2] == seen[1][4:]
    for key in ('state_dict', 'optimizer'):
        assert_same(checkpoint_of(resumed, 6)[key], checkpoint_of(cfgs['two_stage', 2], 6)[key], key)


def test_two_processes_do_so_where_the_student_enlarges(make_cfg, processes, pairs, tmp_path):
    small = tmp_path / 'x2'
    make_pairs(pairs / 'target', small, make_lowres, LowresSettings(scale=2))
    cfgs = []
    for count in (1, 2):
        cfg = make_cfg(
            f'of_{count}',
            dict(type='JointSchedule', begin=0.0, end=0.0),
            max_iters=2,
            batch_size=4 // count,
            optim_wrapper=dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=0.1, momentum=0.9)),
            load_from=str(tmp_path / 'initial.pth'),
            model_wrapper_cfg=dict(type='MMDistributedDataParallel', device_ids=None),
            launcher='none' if count == 1 else 'pytorch',
        )
        cfg['model']['generator'] = enlarging('edsr', 2)
        dataset = cfg['train_dataloader']['dataset']
        dataset['data_root'] = str(small)
        next(step for step in dataset['pipeline'] if step['type'] == 'SetValues')['dictionary'] = dict(scale=2)
        next(hook for hook in cfg['custom_hooks'] if 'Unlabeled' in hook['type'])['folders'] = [str(small / 'input')]
        cfgs.append(cfg)
    initial = noisy_weights(cfgs[0])
    torch.save(dict(state_dict=initial), tmp_path / 'initial.pth')
    run(cfgs[:1])
    assert join(processes, *[(cfgs[1:], rank, 2, tmp_path / 'rendezvous') for rank in range(2)]) == [0, 0]
    assert_trained_alike(initial, *(checkpoint_of(cfg, 2)['state_dict'] for cfg in cfgs))


@pytest.mark.slow
def test_eight_processes_one_of_which_is_killed_do_what_one_does(make_cfg, processes, tmp_path):
    """What a lost process costs: the iterations since the last checkpoint, and no masks."""
    settings = dict(
        schedule=dict(type='JointSchedule', begin=0.0, end=0.0),
        max_iters=4,
        optim_wrapper=dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=0.1, momentum=0.9)),
        load_from=str(tmp_path / 'initial.pth'),
    )
    cfgs = {}
    for name, count, more in (
        ('one', 1, {}),
        ('killed', 8, dict(hooks=[dict(type='KillOneHook', iteration=3)])),
        ('resumed', 8, dict(resume=True, load_from=None)),
    ):
        cfg = cfgs[name] = make_cfg('one' if count == 1 else 'eight', batch_size=8 // count, **{**settings, **more})
        cfg['experiment_name'] = f'{name}_{os.getpid()}'
        next(hook for hook in cfg['custom_hooks'] if 'Unlabeled' in hook['type'])['per_pair'] = (
            1.0  # one for each process
        )
        cfg['model']['spd']['losses']['sgr'] = None  # saves the feature extractor, whose weights take a second to read
        cfg['model']['spd']['masks'].update(
            segmenter=dict(type='NotedMasks', min_size=100, notes=str(tmp_path / f'notes_{count}')),
            cache_dir=str(tmp_path / f'masks_{count}'),
        )
        cfg['launcher'] = 'none' if count == 1 else 'pytorch'
        cfg['model_wrapper_cfg'] = dict(type='MMDistributedDataParallel', device_ids=None)
    initial = noisy_weights(cfgs['one'])
    torch.save(dict(state_dict=initial), tmp_path / 'initial.pth')
    run([cfgs['one']])
    ended = join(processes, *[([cfgs['killed']], rank, 8, tmp_path / 'first') for rank in range(8)])
    assert ended[3] == -signal.SIGKILL and all(code > 0 for rank, code in enumerate(ended) if rank != 3)
    assert Path(tmp_path, 'eight', 'last_checkpoint').read_text().endswith('iter_2.pth')
    segmented = Path(tmp_path, 'notes_8').read_text()
    assert join(processes, *[([cfgs['resumed']], rank, 8, tmp_path / 'second') for rank in range(8)]) == [0] * 8
    # Four photographs and eight processes: some compute what another is at, for none waits. Afterwards none does.
    assert Path(tmp_path, 'notes_1').read_text().count('image') == 4 <= segmented.count('image')
    assert Path(tmp_path, 'notes_8').read_text() == segmented
    assert len(list((tmp_path / 'masks_8').rglob('*.masks'))) == 4
    one, eight = (checkpoint_of(cfgs[name], 4)['state_dict'] for name in ('one', 'resumed'))
    assert_trained_alike(initial, one, eight)

"""``tools/train.py --check``: every refusal at once, and what a training will cost."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.runner import Runner
from PIL import Image
from tool_processes import run_as_process

import mmsampriors
from mmsampriors.engine.rehearsal import learning_rates, problems_of, rehearse, stages_of
from mmsampriors.models import JointSchedule, SPDModel, TwoStageSchedule

ROOT = Path(mmsampriors.__file__).resolve().parents[1]
TWO_STAGES = dict(type='TwoStageSchedule', warmup=0.25, refiner=0.5)


class Model:
    def __init__(self, schedule=None):
        if schedule:
            self.schedule = schedule


def test_stages_follow_the_schedule():
    stages = stages_of(Model(TwoStageSchedule(refiner=0.5, warmup=0.25)), 8)
    assert [(stage.name, stage.first, stage.iterations) for stage in stages] == [
        ('warmup', 0, 2),
        ('refiner', 2, 4),
        ('student', 6, 2),
    ]
    assert stages[1].phase.refiner and not stages[1].phase.student
    assert [stage.name for stage in stages_of(Model(JointSchedule()), 8)] == ['joint']
    assert stages_of(Model(), 8) == [('plain', 0, 8, None)]


def test_learning_rates_are_those_of_the_training(runner_cfg):
    scheduler = dict(type='CosineAnnealingLR', by_epoch=False, T_max=4, eta_min=0.0)
    runner = Runner.from_cfg(Config(runner_cfg(param_scheduler=scheduler)))
    runner.optim_wrapper = runner.build_optim_wrapper(runner.optim_wrapper)
    expected = [1e-3 * (1 + np.cos(np.pi * step / 4)) / 2 for step in range(4)]
    assert learning_rates(runner) == pytest.approx(expected)


def test_weights_of_another_network_are_refused_before_anything_is_timed(runner_cfg, tmp_path):
    torch.save(dict(state_dict={'generator.other': torch.ones(1)}), tmp_path / 'other.pth')
    with pytest.raises(ValueError, match='the checkpoint does not fit the model'):
        rehearse(Config(runner_cfg(load_from=str(tmp_path / 'other.pth'))))


@pytest.mark.slow
def test_the_table_names_stages_masks_and_total(runner_cfg, tmp_path):
    cfg = Config(runner_cfg(max_iters=8, schedule=TWO_STAGES))
    cfg.model.spd.masks = dict(
        type='CachedMasks', segmenter=dict(type='FelzenszwalbMasks'), cache_dir=str(tmp_path / 'cache')
    )
    cfg.custom_hooks += [dict(type='mmsampriors.MaskCacheHook')]
    text = rehearse(cfg)
    rows = {line.split()[0]: line.split() for line in text.splitlines()[2:7]}
    assert list(rows) == ['warmup', 'refiner', 'student', 'masks', 'total']
    assert [rows[name][1] for name in list(rows)[:4]] == ['2', '4', '2', '4']
    assert float(rows['refiner'][5]) > 0 and re.match(r'\d+:\d\d:\d\d', rows['total'][-1])
    with Image.open(Path(cfg.work_dir) / 'check.png') as picture:
        assert picture.size[0] > 400
    assert not (tmp_path / 'cache').exists() or not list((tmp_path / 'cache').rglob('*.masks'))


@pytest.mark.slow
def test_photographs_without_ground_truth_are_added_to_the_steps_that_distil(runner_cfg, pairs, monkeypatch):
    cfg = Config(runner_cfg(max_iters=8, schedule=TWO_STAGES))
    cfg.custom_hooks += [
        dict(type='mmsampriors.UnlabeledHook', folders=[str(pairs / 'input')], per_pair=0.6, cascade=2)
    ]
    batches, upstream = {}, SPDModel.train_step
    monkeypatch.setattr(
        SPDModel,
        'train_step',
        lambda model, data, optim_wrapper: (
            batches.setdefault(model.phase.name, (len(data['inputs']), model.unlabeled_cascade)),
            upstream(model, data, optim_wrapper),
        )[1],
    )
    rehearse(cfg)
    count = cfg.train_dataloader.batch_size
    assert batches == dict(warmup=(count, 1), refiner=(count, 1), student=(count + 2, 2)), '1.2 photographs a batch'


def test_all_problems_are_listed(runner_cfg, tmp_path):
    cfg = Config(runner_cfg())
    assert problems_of(cfg) == []
    cfg.custom_hooks = []
    cfg.model.spd.masks = dict(type='LabelMapMasks', folder=str(tmp_path / 'nowhere'))
    cfg.val_dataloader.dataset.data_root = str(tmp_path / 'elsewhere')
    found = problems_of(cfg)
    assert len(found) == 3
    for text, part in zip(found, ('no SPDScheduleHook', 'there is no folder', 'elsewhere')):
        assert part in text


@pytest.mark.slow
def test_the_real_command(tmp_path):
    config = ROOT / 'configs' / 'spd' / 'nafnet_derain-tiny.py'
    command = ['tools/train.py', config, '--check']
    done = run_as_process(command, cwd=tmp_path)
    assert done.returncode == 1 and 'data/tiny/derain/train' in done.stderr and 'Traceback' not in done.stderr
    for part, name in (('train', 'a'), ('val', 'b')):
        for kind in ('input', 'target'):
            folder = tmp_path / 'data' / 'tiny' / 'derain' / part / kind
            folder.mkdir(parents=True)
            pixels = np.random.default_rng(0).integers(0, 255, (80, 80, 3), np.uint8)
            Image.fromarray(pixels).save(folder / f'{name}.png')
    bgr = [f'train_dataloader.dataset.pipeline.{step}.channel_order=bgr' for step in (0, 1)]
    done = run_as_process([*command, '--accumulate', '2', '--cfg-options', *bgr], cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    lines = [line for line in (done.stdout + done.stderr).splitlines() if 'loads BGR and val_dataloader RGB' in line]
    assert len(lines) == 1 and all(setting.replace('=bgr', '=rgb') in lines[0] for setting in bgr)
    assert 'Peak memory' in done.stdout
    # 400 updates
    stages = re.findall(r'^(warmup|refiner|student) +(\d+)', done.stdout, re.MULTILINE)
    assert stages == [('warmup', '100'), ('refiner', '400'), ('student', '300')]
    assert [path.name for path in tmp_path.rglob('*') if path.suffix in ('.pth', '.png') and 'data' not in path.parts]

"""A resumed run is compared with the config in its checkpoint."""

import copy

import pytest
import torch
from mmengine.config import Config

from mmsampriors.checks import training_checks
from mmsampriors.checks.training_checks import check_resume, prefer_own_checkpoint


def checkpoint(path, cfg=None, **others):
    """Writes what is looked at of a checkpoint of an interrupted training; None leaves a part out."""
    meta = dict(iter=5, epoch=0, **(dict(cfg=cfg) if cfg is not None else {}))
    parts = dict(meta=meta, state_dict={}, message_hub={}, optimizer=dict(state={1: 2}), param_schedulers=[{}])
    torch.save({key: value for key, value in {**parts, **others}.items() if value is not None}, path)


@pytest.fixture
def cfg(tmp_path, model_cfg):
    """A config whose work folder holds a checkpoint of it."""
    cfg = Config(
        dict(
            model=model_cfg(),
            train_dataloader=dict(batch_size=2, num_workers=4, dataset=dict(data_root='pairs', _scope_='mmagic')),
            train_cfg=dict(type='IterBasedTrainLoop', max_iters=10),
            optim_wrapper=dict(type='OptimWrapper', optimizer=dict(type='Adam', lr=1e-3, betas=(0.9, 0.99))),
            param_scheduler=dict(type='CosineAnnealingLR', T_max=10),
            work_dir=str(tmp_path / 'run'),
            resume=True,
        )
    )
    (tmp_path / 'run').mkdir()
    path = tmp_path / 'run' / 'iter_5.pth'
    checkpoint(path, cfg.pretty_text)
    (tmp_path / 'run' / 'last_checkpoint').write_text(str(path))
    return cfg


@pytest.fixture
def said(monkeypatch):
    """What is warned of."""
    messages = []
    monkeypatch.setattr(training_checks, 'warn', messages.append)
    return messages


def test_the_same_run_is_resumed_without_a_word(cfg, said):
    check_resume(cfg)
    cfg.merge_from_dict({'train_dataloader.num_workers': 0, 'model.spd.masks.cache_dir': 'x', 'log_level': 'INFO'})
    check_resume(cfg)
    assert not said


@pytest.mark.parametrize(
    'text', ["import os\nos.system('touch broken_in')", "model = dict(type=open('broken_in', 'w'))", 5]
)
def test_a_config_that_is_code_is_not_run(cfg, said, text, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    checkpoint(tmp_path / 'run' / 'iter_5.pth', text)
    check_resume(cfg)
    assert 'holds more than values' in said[0] and 'is not run' in said[0]
    assert not (tmp_path / 'broken_in').exists()


@pytest.mark.parametrize(
    'key, value, change',
    [
        ('model.generator.mid_channels', 8, 'model.generator.mid_channels was 4 and is 8'),
        (
            'model.spd.schedule',
            dict(type='TwoStageSchedule'),
            "schedule.type was 'JointSchedule' and is 'TwoStageSchedule'",
        ),
        ('optim_wrapper.optimizer.lr', 1e-4, 'optim_wrapper.optimizer.lr was 0.001 and is 0.0001'),
        ('param_scheduler.T_max', 20, 'param_scheduler.T_max was 10 and is 20'),
        # --accumulate was not given before, and is now.
        ('optim_wrapper.accumulative_counts', 8, 'accumulative_counts was .absent. and is 8'),
        ('optim_wrapper.paramwise_cfg', dict(norm_decay_mult=0.0), 'norm_decay_mult was .absent. and is 0.0'),
        ('model.spd.refiner', dict(type='NAFNet'), "refiner.type was .absent. and is 'NAFNet'"),
    ],
)
def test_what_a_checkpoint_brings_itself_cannot_change(cfg, key, value, change):
    cfg.merge_from_dict({key: value})
    with pytest.raises(
        ValueError, match=f'(?s)iter_5.pth, which was trained with other settings: .*{change}.*load_from='
    ):
        check_resume(cfg)


@pytest.mark.parametrize(
    'key, value, change',
    [
        ('train_dataloader.dataset.data_root', 'others', "data_root was 'pairs' and is 'others'"),
        ('train_cfg.max_iters', 20, 'train_cfg.max_iters was 10 and is 20'),
        ('model.spd.losses.spd.loss_weight', 1.5, 'loss_weight was 0.5 and is 1.5'),
        ('optim_wrapper.clip_grad', dict(max_norm=1), 'clip_grad.max_norm was (absent) and is 1'),
    ],
)
def test_other_changes_are_reported(cfg, said, key, value, change):
    cfg.merge_from_dict({key: value})
    check_resume(cfg)
    assert len(said) == 1 and change in said[0]


@pytest.mark.parametrize('note', [b'', b'iter_', b'iter_7.pth', b'\xffiter_5.pth'])
def test_a_damaged_note_of_the_last_checkpoint_is_named(cfg, tmp_path, note):
    (tmp_path / 'run' / 'last_checkpoint').write_bytes(note)
    with pytest.raises(FileNotFoundError, match='run/last_checkpoint must hold the path of the checkpoint'):
        check_resume(cfg)


def test_nothing_to_resume_is_an_error(cfg, tmp_path):
    cfg.work_dir = str(tmp_path / 'other')
    with pytest.raises(FileNotFoundError, match='nothing to resume: no checkpoint in .*other.*leave --resume out'):
        check_resume(cfg)
    cfg.resume = False
    check_resume(cfg)
    cfg.resume, cfg.load_from = True, 'gone.pth'
    with pytest.raises(FileNotFoundError, match='no gone.pth'):
        check_resume(cfg)


def test_a_checkpoint_without_config_is_reported(cfg, said, tmp_path):
    checkpoint(tmp_path / 'run' / 'iter_5.pth')
    check_resume(copy.deepcopy(cfg))
    assert 'holds no config' in said[0]


@pytest.mark.parametrize(
    'others, missing',
    [
        (dict(meta=None), 'meta.epoch, meta.iter'),
        (dict(meta='x'), 'meta.epoch, meta.iter'),
        (dict(meta=dict(epoch=0, iter='two')), 'meta.iter'),
        (dict(meta=dict(epoch=0, iter=-3)), 'meta.iter'),
        (dict(message_hub=None), 'message_hub'),
        (dict(optimizer='adam'), 'optimizer'),
        (dict(param_schedulers='cosine'), 'param_schedulers'),
    ],
)
def test_what_mmengine_cannot_go_on_from_is_refused(cfg, tmp_path, others, missing):
    checkpoint(tmp_path / 'run' / 'iter_5.pth', **others)
    with pytest.raises(ValueError, match=f'nothing to resume: .*iter_5.pth holds no usable {missing}, .*load_from='):
        check_resume(cfg)


@pytest.mark.parametrize(
    'others, message',
    [
        (dict(meta=dict(epoch=0, iter=11)), 'was saved after 11 iterations, and train_cfg.max_iters is 10'),
        (dict(param_schedulers=[{}, {}]), 'iter_5.pth holds 2 param_schedulers, and the config has 1'),
    ],
)
def test_what_is_left_out_in_silence_is_refused(cfg, tmp_path, others, message):
    checkpoint(tmp_path / 'run' / 'iter_5.pth', **others)
    with pytest.raises(ValueError, match=message):
        check_resume(cfg)


@pytest.mark.parametrize(
    'average, fault', [(torch.zeros(3, 7), 'a shape that no weight has'), (torch.full((2,), torch.nan), 'not finite')]
)
@pytest.mark.parametrize('several', [False, True])
def test_the_optimizer_of_another_network_is_refused_with_its_key(cfg, tmp_path, several, average, fault):
    state = dict(state={0: dict(step=1, exp_avg=torch.zeros(2)), 4: dict(exp_avg=average)}, param_groups=[])
    optimizer, key = (dict(generator=state), 'optimizer.generator') if several else (state, 'optimizer')
    checkpoint(tmp_path / 'run' / 'iter_5.pth', state_dict=dict(w=torch.zeros(2)), optimizer=optimizer)
    with pytest.raises(ValueError, match=rf'iter_5.pth, and its {key}\.state\.4\.exp_avg, .*{fault}.*load_from='):
        check_resume(cfg)


@pytest.mark.parametrize('part', ['optimizer', 'param_schedulers'])
def test_what_begins_anew_is_reported(cfg, said, tmp_path, part):
    checkpoint(tmp_path / 'run' / 'iter_5.pth', cfg.pretty_text, **{part: None})
    check_resume(cfg)
    assert len(said) == 1 and f'holds no {part}: they begin anew' in said[0]


def test_a_runs_own_checkpoint_comes_before_the_one_that_it_began_with(cfg, said):
    cfg.load_from = 'weights.pth'
    prefer_own_checkpoint(cfg)
    check_resume(cfg)
    assert cfg.load_from is None and not said


@pytest.mark.parametrize('resume, work_dir', [(False, 'run'), (True, 'other')])
def test_the_checkpoint_to_begin_with_stays_where_nothing_is_resumed(cfg, tmp_path, resume, work_dir):
    cfg.merge_from_dict(dict(load_from='weights.pth', resume=resume, work_dir=str(tmp_path / work_dir)))
    prefer_own_checkpoint(cfg)
    assert cfg.load_from == 'weights.pth'


@pytest.mark.parametrize(
    'meta, found', [({}, 'weights alone'), (dict(epoch=0, iter=10), 'a training that ended after 10 iterations')]
)
def test_what_was_not_interrupted_is_not_resumed(cfg, tmp_path, meta, found):
    """Where a run was killed before its first checkpoint there is only what it began with."""
    torch.save(dict(meta=meta, state_dict={}), tmp_path / 'first.pth')
    cfg.merge_from_dict(dict(load_from=str(tmp_path / 'first.pth'), work_dir=str(tmp_path / 'other')))
    with pytest.raises(ValueError, match=f'nothing to resume: no checkpoint in .*other, .*{found}.*--resume out'):
        check_resume(cfg)


def test_a_missing_note_of_the_last_checkpoint_is_reported(cfg, tmp_path):
    (tmp_path / 'run' / 'last_checkpoint').unlink()
    with pytest.raises(FileNotFoundError, match='run/last_checkpoint .*beside iter_5.pth: write the path .*iter_5.pth'):
        check_resume(cfg)
    cfg.load_from = 'weights.pth'
    with pytest.raises(FileNotFoundError, match='run/last_checkpoint .*beside iter_5.pth'):
        prefer_own_checkpoint(cfg)

import pytest
from mmengine.config import Config
from networks import enlarging

from mmsampriors.checks.config_check import check_config
from mmsampriors.experiments import BASELINES, baselines_of, prepare_trial, shortened, with_unlabeled
from mmsampriors.registry import TASK_UTILS, build_part

UNLABELED = 'mmsampriors.UnlabeledHook'


@pytest.fixture
def cfg(runner_cfg):
    cfg = runner_cfg(max_iters=8, schedule=dict(type='TwoStageSchedule', refiner=0.5, warmup=0.25))
    cfg['custom_hooks'].append(dict(type='mmsampriors.ExactResumeHook'))
    return Config(cfg)


def test_baselines_differ_in_masks_and_distillation_alone(cfg, tmp_path):
    read = {}
    for baseline in BASELINES:
        trial = prepare_trial(cfg, baseline, 3, tmp_path, unlabeled=[tmp_path])
        read[baseline] = Config.fromfile(trial.config)
        check_config(read[baseline])
        assert read[baseline].randomness.seed == 3 and read[baseline].work_dir == str(trial.work_dir)
        assert (
            trial.checkpoint == trial.work_dir / 'iter_8.pth' and read[baseline].default_hooks.checkpoint.interval == 2
        )
    assert {baseline: one.model.spd.masks.type for baseline, one in read.items()} == dict(
        plain='NoMasks', self='NoMasks', spd='FelzenszwalbMasks'
    )
    hooks = {baseline: [hook.type for hook in one.custom_hooks] for baseline, one in read.items()}
    assert hooks['self'] == hooks['spd'] == [*hooks['plain'], 'mmsampriors.UnlabeledHook']
    schedules = {baseline: build_part(TASK_UTILS, one.model.spd.schedule) for baseline, one in read.items()}
    phases = {baseline: [schedule.phase(index, 8) for index in range(8)] for baseline, schedule in schedules.items()}
    assert phases['self'] == phases['spd']
    assert [phase.name for phase in phases['plain']] == 2 * ['warmup'] + 4 * ['refiner'] + 2 * ['warmup']
    assert [phase.student for phase in phases['plain']] == [phase.student for phase in phases['spd']]
    for one in read.values():
        for changed in ('masks', 'schedule'):
            one.model.spd.pop(changed)
    assert read['plain'].model == read['self'].model == read['spd'].model
    assert cfg.model.spd.schedule.type == 'TwoStageSchedule', 'what is given stays as it is'


def test_photographs_keep_their_settings_and_lose_their_masks_with_the_others(cfg, tmp_path):
    assert [hook.cascade for hook in with_unlabeled(cfg, [tmp_path]).custom_hooks if hook.type == UNLABELED] == [2]
    cfg.custom_hooks.append(dict(type='mmsampriors.BlendStudentHook'))
    cfg.custom_hooks.append(dict(type=UNLABELED, folders=['mine'], cascade=3, masks=dict(type='LabelMapMasks')))
    for baseline, masks in (('plain', None), ('self', None), ('spd', dict(type='LabelMapMasks'))):
        trial = prepare_trial(cfg, baseline, 0, tmp_path / 'out', unlabeled=[tmp_path])
        (hook,) = [hook for hook in Config.fromfile(trial.config).custom_hooks if hook.type == UNLABELED]
        assert (hook.cascade, hook.masks) == (3, masks)
        assert 'mmsampriors.BlendStudentHook' in trial.config.read_text(), 'plain training leaves it no part'
        assert hook.folders == (['mine'] if baseline == 'plain' else [str(tmp_path)])


def test_photographs_of_a_network_that_enlarges_are_restored_once(cfg, tmp_path):
    cfg.model.generator = enlarging('edsr', 2)
    assert with_unlabeled(cfg, [tmp_path]).custom_hooks[-1].cascade == 1


def test_without_masks_there_are_two_baselines(cfg):
    assert baselines_of(cfg) == ['plain', 'self', 'spd']
    cfg.model.spd.masks = dict(type='NoMasks')
    assert baselines_of(cfg) == ['plain', 'spd']


def test_what_was_begun_otherwise_is_not_gone_on_with(cfg, tmp_path):
    prepare_trial(cfg, 'spd', 0, tmp_path)
    prepare_trial(cfg, 'spd', 0, tmp_path)
    cfg.model.spd.losses.spd.loss_weight = 7
    for _ in range(2):
        with pytest.raises(ValueError, match='begun with other settings'):
            prepare_trial(cfg, 'spd', 0, tmp_path)


def test_plain_configs_and_epochs_are_refused(cfg, tmp_path):
    plain = Config({**cfg, 'model': {**cfg.model, 'type': 'BaseEditModel'}})
    epochs = Config({**cfg, 'train_cfg': dict(by_epoch=True, max_epochs=3)})
    for wrong in (plain, epochs):
        with pytest.raises(ValueError, match='must train an SPDModel by iterations'):
            prepare_trial(wrong, 'spd', 0, tmp_path)


def test_what_counts_iterations_is_stretched_alike(cfg):
    cfg.param_scheduler = [
        dict(type='LinearLR', begin=0, end=2),
        dict(type='CosineRestartLR', begin=2, periods=[4, 2], restart_weights=[1, 0.5], eta_min=1e-6),
        dict(type='OneCycleLR', eta_max=1e-3, total_steps=8),
    ]
    cfg.train_dataloader.batch_sampler = dict(iters=[6, 2], batch_sizes=[2, 1])
    short = shortened(cfg, 4)
    assert (short.train_cfg.max_iters, short.train_cfg.val_interval) == (4, 2)
    assert [scheduler.get('end') for scheduler in short.param_scheduler] == [1, None, None]
    assert short.param_scheduler[1].periods == [2, 1] and short.param_scheduler[1].restart_weights == [1, 0.5]
    assert short.param_scheduler[2].total_steps == 4
    assert short.train_dataloader.batch_sampler == dict(iters=[3, 1], batch_sizes=[2, 1])
    assert cfg.train_cfg.max_iters == 8 and shortened(cfg, None).to_dict() == cfg.to_dict()

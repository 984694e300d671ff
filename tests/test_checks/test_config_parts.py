"""Each part of a config against what its constructor takes."""

import pytest
from mmengine.config import Config

import mmsampriors.engine  # noqa: F401  (registers the hooks)
from mmsampriors.checks.config_parts import check_parts, parts_of
from mmsampriors.checks.config_values import accepted, nearest
from mmsampriors.registry import HOOKS, TRANSFORMS


@pytest.fixture
def cfg(runner_cfg):
    """A config of all kinds of parts, in which nothing is wrong."""
    return Config(
        {
            **runner_cfg(),
            'param_scheduler': [dict(type='CosineAnnealingLR', by_epoch=False, T_max=4, eta_min=0.0)],
            'env_cfg': dict(cudnn_benchmark=False, mp_cfg=dict(mp_start_method='fork')),
        }
    )


def test_what_is_right_passes(cfg):
    check_parts(cfg)
    cfg.custom_hooks.append(dict(type='EMAHook', momentum=0.1, begin_iter=2, priority='LOW'))
    cfg.auto_scale_lr = dict(enable=True, base_batch_size=8)
    check_parts(cfg)
    paths = [part.path for part in parts_of(cfg.to_dict())]
    for path in ('model.generator', 'train_dataloader.dataset.pipeline.3', 'val_evaluator.0', 'default_hooks.logger'):
        assert path in paths
    assert not any(path.startswith('model.spd') for path in paths)


@pytest.mark.parametrize(
    'key, value, message',
    [
        ('optim_wrapper.optimizer.betaz', [0.9, 0.9], r"the key 'betaz', which AdamW does not take \(is betas meant"),
        ('optim_wrapper.optimizer.lr', 'fast', "optimizer.lr must be a finite number, found 'fast'"),
        ('optim_wrapper.optimizer.lr', 0, 'optimizer.lr must be greater than 0, found 0'),
        ('optim_wrapper.optimizer.lr', float('inf'), 'optimizer.lr must be greater than 0, found inf'),
        ('optim_wrapper.optimizer.betas', 0.9, 'optim_wrapper.optimizer cannot be built: TypeError'),
        ('optim_wrapper.optimizer.weight_decay', -1, 'optimizer.weight_decay must be at least 0, found -1'),
        ('optim_wrapper.accumulative_counts', 1.5, 'accumulative_counts must be a whole number, found 1.5'),
        ('optim_wrapper.clip_grad', 5, 'optim_wrapper.clip_grad must be a dict such as'),
        ('model.data_preprocessor.mean', [1, 2], 'model.data_preprocessor cannot be built: .*1 or 3 values'),
        ('train_cfg.val_interval', 2.5, 'train_cfg.val_interval must be a whole number, found 2.5'),
        ('train_dataloader.dataset.pipeline.0.channel_order', 'rbg', "channel_order must be one of .*found 'rbg'"),
        ('val_evaluator.0.convert_to', 'YUV', "val_evaluator.0.convert_to must be one of .*found 'YUV'"),
        ('train_dataloader.dataset.pipeline', [], 'dataset.pipeline must be a list of transforms, found'),
        ('train_dataloader.dataset.data_root', 3, 'dataset.data_root must be a text, found 3'),
        ('optim_wrapper.accumulative_count', 2, r'\(is accumulative_counts meant'),
        ('optim_wrapper.accumulative_counts', 0, 'accumulative_counts must be greater than 0'),
        ('optim_wrapper.clip_grad', dict(max_norm=-1), 'optim_wrapper.clip_grad.max_norm must be greater than 0'),
        ('optim_wrapper.clip_grad', dict(max_nrm=1), 'clip_grad_norm_ does not take .is max_norm meant'),
        ('optim_wrapper.clip_grad', dict(type='value', max_norm=1), 'clip_grad_value_ does not take'),
        ('optim_wrapper.paramwise_cfg', dict(bias_lr_mlt=2), 'is bias_lr_mult meant'),
        (
            'optim_wrapper.paramwise_cfg',
            dict(bias_lr_mult=-1),
            'paramwise_cfg.bias_lr_mult must be .* at least 0, found',
        ),
        (
            'optim_wrapper.paramwise_cfg',
            dict(custom_keys={'generator.intro': dict(lr_mult='fast')}),
            "paramwise_cfg.custom_keys.generator.intro.lr_mult must be a finite number of at least 0, found 'fast'",
        ),
        ('optim_wrapper.type', 'OptimWraper', r'optim_wrapper.type = .* is not registered \(is OptimWrapper meant'),
        ('param_scheduler.0.T_maxx', 3, r'param_scheduler.0 has the key .* \(is T_max meant'),
        ('param_scheduler.0.T_max', 0, 'param_scheduler.0.T_max must be greater than 0'),
        ('param_scheduler.0.T_max', 2.5, 'param_scheduler.0.T_max must be a whole number, found 2.5'),
        ('param_scheduler.0.eta_min', -1, 'param_scheduler.0.eta_min must be at least 0, found -1'),
        ('optim_wrapper.optimizer.type', 'Adamw', r'is not registered \(is AdamW meant'),
        ('model.pixel_loss.loss_weight', float('inf'), 'model.pixel_loss.loss_weight must be at least 0, found inf'),
        ('train_cfg.max_iters', None, 'train_cfg.max_iters must be a whole number, found None'),
        ('train_dataloader.collate_fn', dict(type='stackk'), "train_dataloader.collate_fn.type = 'stackk' is not"),
        (
            'train_dataloader.dataset.pipeline.0.imdecode_backend',
            'pil2',
            "pipeline.0.imdecode_backend must be one of .*found 'pil2'",
        ),
        ('default_hooks.checkpoint.interval', 0, 'checkpoint.interval must be greater than 0, or -1 for never'),
        ('default_hooks.checkpoint.interval', 2.5, 'checkpoint.interval must be a whole number, found 2.5'),
        ('log_processor.window_size', 0, 'log_processor.window_size must be greater than 0, found 0'),
        ('randomness.seed', 2**32, 'randomness.seed must be from 0 to 4294967295, found 4294967296'),
        ('env_cfg.mp_cfg.mp_start_method', 'frok', "mp_start_method must be one of .*found 'frok'"),
        ('default_hooks.checkpoint.intervall', 4, r'default_hooks.checkpoint has the key .* \(is interval meant'),
        ('default_hooks.checkpoint.save_best', 'PSNRR', r"'PSNRR' is measured by no metric .*\(is PSNR meant"),
        ('default_hooks.checkpoint.type', 'CheckpointHok', r'is not registered \(is CheckpointHook meant'),
        ('custom_hooks.0.intervall', 1, r'custom_hooks.0 has the key .* SPDScheduleHook does not take \(is interval'),
        ('train_dataloader.num_worker', 1, r'train_dataloader has the key .* \(is num_workers meant'),
        ('train_dataloader.batch_size', 'two', 'train_dataloader.batch_size must be a whole number'),
        ('train_dataloader.sampler.shufle', True, r'sampler has the key .* \(is shuffle meant'),
        ('train_dataloader.dataset.img_sufix', '.png', r'dataset has the key .* \(is img_suffix meant'),
        (
            'train_dataloader.dataset.data_prefix',
            dict(_delete_=True, image='x', gt='y'),
            r"no folder of 'img' .*\(is image meant",
        ),
        ('train_dataloader.dataset.data_prefix.image', 'input', r"has 'image' images, .*\(is img meant"),
        ('train_dataloader.dataset.pipeline.3.gt_patch_size', 0, 'pipeline.3.gt_patch_size must be greater than 0'),
        ('train_dataloader.dataset.pipeline.3.gt_patch_siz', 8, r'\(is gt_patch_size meant'),
        ('train_dataloader.dataset.pipeline.0.type', 'LoadImage', 'pipeline.0.type = .* is not registered'),
        ('train_cfg.max_iters', 'abc', "train_cfg.max_iters must be a whole number, found 'abc'"),
        ('train_cfg.val_interval', 0, 'train_cfg.val_interval must be greater than 0'),
        ('model.data_preprocessor.std', [0, 0, 0], 'model.data_preprocessor.std must be greater than 0'),
        ('model.generator.mid_chanels', 4, r'model.generator has the key .* \(is mid_channels meant'),
        ('model.pixel_loss.type', 'L1Los', r'\(is L1Loss meant'),
        ('val_evaluator.0.crop_bordr', 1, r'val_evaluator.0 has the key .* \(is crop_border meant'),
        ('log_processor.window', 3, r'\(is window_size meant'),
        ('env_cfg.cudnn_bench', True, r'env_cfg has the key .*nothing reads \(is cudnn_benchmark meant'),
        ('env_cfg.mp_cfg.mp_start', 'fork', r'\(is mp_start_method meant'),
        ('randomness.sed', 1, r'\(is seed meant'),
        ('auto_scale_lr', dict(base_batch=8), r'\(is base_batch_size meant'),
        ('auto_scale_lr', dict(enable=True), r'set auto_scale_lr.base_batch_size to a number above 0, found None'),
        ('auto_scale_lr', dict(enable=True, base_batch_size=0), r'base_batch_size to a number above 0, found 0'),
        ('model.spd.refiner', dict(type='NAFNetwork'), r"model.spd.refiner.type = 'NAFNetwork' .* \(is NAFNet meant"),
        (
            'model.spd.refiner',
            dict(type='NAFNet', width=4),
            r"model.spd.refiner has the key 'width', which NAFNet does",
        ),
        ('model.spd.losses.spd.type', 'SPDLos', r'model.spd.losses.spd.type = .* \(is SPDLoss meant'),
        ('custom_hooks', [dict(type='EMAHook', momentum=2)], r'custom_hooks.0 cannot be built: .*momentum must be in'),
        ('custom_hooks', [dict(type='EMAHook', momentm=0.1)], r"custom_hooks.0 cannot be built: .*'momentm'"),
        ('custom_hooks', [dict(type='EMAHook', ema_type='Mean')], r'custom_hooks.0 cannot be built: .*Mean'),
    ],
)
def test_what_a_part_does_not_take_is_named_with_what_is_meant(cfg, key, value, message):
    cfg.merge_from_dict({key: value})
    with pytest.raises(ValueError, match=message):
        check_parts(cfg)


@pytest.mark.parametrize('prefix', ['', 'mmsampriors.'])
def test_a_refiner_of_this_package_needs_no_prefix(cfg, prefix):
    cfg.model.spd.refiner = dict(type=f'{prefix}DnCNN', width=4, depth=3)
    check_parts(cfg)


def test_all_faults_are_reported_at_once(cfg):
    cfg.merge_from_dict({'optim_wrapper.optimizer.betaz': 1, 'train_cfg.max_iters': 'abc'})
    cfg.custom_hooks.append(dict(type='mmsampriors.SPDScheduleHook'))
    with pytest.raises(ValueError) as error:
        check_parts(cfg)
    assert all(word in str(error.value) for word in ('betaz', 'abc', 'SPDScheduleHook of custom_hooks.0 again'))


def test_parts_of_a_users_own_pass(cfg, monkeypatch):
    class Free:
        """Takes whatever it is given."""

        def __init__(self, lr: int = 0, **others):
            self.others = others

    class Base:
        def __init__(self, wide=1):
            pass

    class Strict(Base):
        """What it does not know goes to its base."""

        def __init__(self, narrow=1, **others):
            super().__init__(**others)

    for kind in (Free, Strict):
        monkeypatch.setitem(HOOKS._module_dict, kind.__name__, kind)
    # 0 and less may mean something to it, and the folders of a pipeline of its own are its own.
    cfg.custom_hooks += [
        dict(type='mmsampriors.Free', lr=0, batch_size=-1, priority=1),
        dict(type='mmsampriors.Free'),
        dict(type=Free, more=1),
        dict(type='mmsampriors.Strict', narrow=1, wide=2),
    ]
    cfg.optim_wrapper.constructor = 'OfAUser'
    cfg.optim_wrapper.paramwise_cfg = dict(other=1)
    cfg.default_hooks.checkpoint.save_best = 'refined/PSNR'
    cfg.val_dataloader = None
    cfg.train_cfg.val_interval = 0  # nothing reads it without validation
    del cfg.custom_hooks[-1]['wide']
    check_parts(cfg)
    cfg.custom_hooks[-1].wid = 2
    with pytest.raises(ValueError, match='Strict does not take .is wide meant'):
        check_parts(cfg)


def test_the_arguments_of_upstream_are_known_through_their_bases():
    takes, others = accepted(TRANSFORMS.get('PackInputs'))
    assert 'keys' in takes and not others
    assert accepted(dict)[1] and accepted(print)[0]
    assert nearest('abc', ['xyz']) == '' and nearest('maxnorm', ['max_norm', 'norm']) == ' (is max_norm meant?)'

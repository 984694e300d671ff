"""The configs of the three trainings."""

import os.path as osp

from mmengine.config import Config

from mmsampriors.engine.export import stock_model
from mmsampriors.registry import is_a

from .plan import Plan


def read_config(plan: Plan) -> Config:
    """``configs/spd/quickstart.py`` with the folders of the plan."""
    cfg = Config.fromfile(plan.config)
    for dataset in cfg.train_dataloader.dataset.datasets:
        dataset.data_root = plan.folder('data', 'train')
    cfg.val_dataloader.dataset.data_root = plan.folder('data', 'test_heavier')
    hook = next(hook for hook in cfg.custom_hooks if is_a(hook, 'UnlabeledHook'))
    rains = range(len(cfg.train_dataloader.dataset.datasets))
    hook.folders = [plan.folder('data', 'heavier', f'rain_{number}', 'input') for number in rains]
    cfg.model.spd.masks.cache_dir = plan.folder('masks')
    cfg.test_dataloader = cfg.test_evaluator = cfg.test_cfg = None
    return cfg


def config_of(plan: Plan, name: str) -> Config:
    """The config of one training: where it starts, how long it takes, and its rates.

    Args:
        plan (Plan): Of the quickstart.
        name (str): ``first``, ``plain`` or ``spd``.
    """
    cfg, steps = read_config(plan), plan.steps(name)
    cfg.work_dir, cfg.launcher, cfg.experiment_name = plan.folder(name), 'none', f'quickstart_{name}'
    cfg.train_cfg.max_iters = steps
    # Plain and SPD training are validated after the same updates of the student.
    cfg.train_cfg.val_interval = max(1, (plan.first if name == 'first' else plan.then) // 2)
    cfg.resume = osp.isfile(plan.folder(name, 'last_checkpoint'))
    if name != 'first':
        # Both start from a trained student: smaller steps than from scratch.
        cfg.optim_wrapper.optimizer.lr /= 2
        cfg.load_from = None if cfg.resume else plan.last_checkpoint('first')
    if name == 'spd':
        _distil(cfg, plan)
    else:
        cfg.model = stock_model(cfg.model)
        # Plain and SPD training are shown the same patches.
        cfg.custom_hooks = [hook for hook in cfg.custom_hooks if is_a(hook, 'ExactResumeHook')]
        cfg.param_scheduler.T_max = steps
    return cfg


def _distil(cfg, plan):
    """First the refiner, then the student with the rates that it has in plain training."""
    cfg.model.spd.schedule = dict(type='TwoStageSchedule', refiner=plan.refiner / plan.steps('spd'), warmup=0.0)
    cfg.param_scheduler = dict(
        type='CosineRestartLR',
        by_epoch=False,
        periods=[plan.refiner, plan.then],
        restart_weights=[1, 1],
        eta_min=cfg.param_scheduler.eta_min,
    )

"""The configs of students: one of configs/spd with its own network, data, patches and schedule."""

from pathlib import Path

from mmengine.config import Config

from .subjects import SUBJECTS

ROOT = Path(__file__).parents[2]
RATE = 5e-4  # half of that of plain training


def plain_config(name: str) -> Config:
    """The config of the network alone."""
    cfg = Config.fromfile(ROOT / 'configs' / 'spd' / SUBJECTS[name].config)
    cfg.model.generator.update(SUBJECTS[name].network)
    return cfg


def unlabeled_config(
    cfg: Config, weights, pairs: Path, unlabeled: Path, updates: tuple, cascade: int, end_weight: float
) -> Config:
    """The config of a trained student that goes on, beside photographs without ground truth (docs/unlabeled.md).

    Args:
        cfg (Config): Of the student.
        weights (str | Path): Its weights.
        pairs (Path): Folder of the pairs.
        unlabeled (Path): Folder of the photographs.
        updates (tuple[int, int]): Of the refiner, and of the student under it.
        cascade (int): Of the UnlabeledHook.
        end_weight (float): Of the BlendStudentHook.
    """
    cfg.load_from = str(weights)
    cfg.model.spd.masks = dict(type='NoMasks')
    cfg.model.spd.losses = dict(spd=dict(type='SPDLoss', loss_weight=1.0), sgr=None)
    cfg.model.spd.schedule = dict(type='TwoStageSchedule', warmup=0.0, refiner=updates[0] / sum(updates))
    cfg.custom_hooks = [hook for hook in cfg.custom_hooks if 'Visualization' not in hook['type']]
    cfg.custom_hooks += [
        dict(type='mmsampriors.UnlabeledHook', folders=[str(unlabeled)], per_pair=0.5, cascade=cascade),
        dict(type='mmsampriors.BlendStudentHook', end_weight=end_weight),
    ]
    cfg.train_dataloader.dataset.data_root = str(pairs)
    cfg.train_cfg.update(max_iters=sum(updates), val_interval=sum(updates))
    cfg.optim_wrapper.optimizer.lr = RATE
    cfg.param_scheduler = dict(
        type='CosineRestartLR', by_epoch=False, periods=list(updates), restart_weights=[1, 0.5], eta_min=1e-6
    )
    return cfg


def config_to_ship(cfg: Config, name: str) -> Config:
    """The config without the folders of this machine."""
    cfg = cfg.copy()
    for loader in (cfg.val_dataloader, cfg.test_dataloader):
        loader.dataset.data_root = f'data/{name}'
    return cfg

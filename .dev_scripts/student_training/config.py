"""The configs of students: one of configs/spd with its own network, data, patches and schedule."""

from pathlib import Path

from mmengine.config import Config

from .subjects import SUBJECTS

ROOT = Path(__file__).parents[2]
BATCH, RATE = 8, 2e-3


def plain_config(name: str, out: Path) -> Config:
    """The config of the network alone."""
    cfg = Config.fromfile(ROOT / 'configs' / 'spd' / SUBJECTS[name].config)
    cfg.model.generator.update(SUBJECTS[name].network)
    cfg.custom_hooks = [hook for hook in cfg.custom_hooks if 'Visualization' not in hook['type']]
    cfg.default_hooks.checkpoint = dict(type='CheckpointHook', interval=500, max_keep_ckpts=1, by_epoch=False)
    cfg.default_hooks.logger.interval = 100
    cfg.work_dir, cfg.launcher, cfg.experiment_name = str(out / 'training'), 'none', f'student_{name}'
    return cfg


def spd_config(name: str, patch: int, versions: int, updates: tuple, out: Path) -> Config:
    """The config of a training with SPD.

    Args:
        name (str): Of the student.
        patch (int): Side of the patches, in pixels.
        versions (int): How often each photograph was degraded.
        updates (tuple[int, int, int]): Of the student alone, of the refiner, and of the student under it.
        out (Path): Folder of the training, with ``data``.
    """
    cfg = plain_config(name, out)
    cfg.model.spd.masks.segmenter = dict(type='SAMMasks', model_type='tiny')
    cfg.model.spd.masks.cache_dir = str(out / 'masks')
    alone, refiner, under = updates
    total = sum(updates)
    cfg.model.spd.schedule = dict(type='TwoStageSchedule', warmup=alone / total, refiner=refiner / total)
    cfg.param_scheduler = dict(
        type='CosineRestartLR',
        by_epoch=False,
        periods=list(updates),
        restart_weights=[1, 1, 0.5],
        eta_min=1e-6,
    )
    cfg.optim_wrapper.optimizer.lr = RATE
    pipeline = cfg.train_pipeline
    next(step for step in pipeline if step.type == 'PairedRandomCrop').gt_patch_size = patch
    pipeline.insert(-1, dict(type='Flip', keys=['img', 'gt'], flip_ratio=0.5, direction='vertical'))
    cfg.train_dataloader.batch_size = BATCH
    cfg.train_dataloader.dataset = dict(
        type='ConcatDataset',
        datasets=[
            dict(
                type='BasicImageDataset',
                metainfo=dict(dataset_type=name, task_name='restoration'),
                data_root=str(out / 'data' / 'train'),
                # All versions share the ground truth of the first, and so its masks.
                data_prefix=dict(img=f'{version}/input', gt='0/target'),
                pipeline=pipeline,
            )
            for version in range(versions)
        ],
    )
    cfg.val_dataloader.dataset.data_root = cfg.test_dataloader.dataset.data_root = str(out / 'data' / 'test')
    cfg.train_cfg.update(max_iters=total, val_interval=1000)
    cfg.resume = (out / 'training' / 'last_checkpoint').is_file()
    return cfg


def config_to_ship(cfg: Config, name: str) -> Config:
    """The config without the folders of this machine."""
    cfg = cfg.copy()
    for loader in (cfg.val_dataloader, cfg.test_dataloader):
        loader.dataset.data_root = f'data/{name}'
    return cfg

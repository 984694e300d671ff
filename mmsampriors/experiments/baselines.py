"""The configs of an experiment: SPD and the baselines that it is compared with."""

import math
from copy import deepcopy
from pathlib import Path
from typing import NamedTuple, Optional, Sequence

from mmengine.config import Config

from mmsampriors.checks.pair_check import scale_of
from mmsampriors.engine.optim import COUNTS, LISTS
from mmsampriors.registry import is_a

#: Baseline to what it is, for tables; the last is what the config says.
BASELINES = dict(plain='plain', self='self-distilled, no masks', spd='SPD')


def baselines_of(cfg: Config) -> list:
    """Those of ``BASELINES`` that differ: a config without masks is its own self-distillation."""
    return [name for name in BASELINES if name != 'self' or not is_a(cfg.model.spd.masks, 'NoMasks')]


class Trial(NamedTuple):
    """One training of a comparison.

    Attributes:
        baseline (str): One of ``BASELINES``.
        seed (int): Of weights, order and patches.
        config (Path): Its config file.
        work_dir (Path): Its work folder.
        iters (int): Its iterations.
    """

    baseline: str
    seed: int
    config: Path
    work_dir: Path
    iters: int

    @property
    def checkpoint(self) -> Path:
        """What it ends with."""
        return self.work_dir / f'iter_{self.iters}.pth'


def prepare_trial(cfg: Config, baseline: str, seed: int, out: Path, unlabeled: Sequence[str] = ()) -> Trial:
    """Writes the config of a baseline, whole, for ``tools/train.py`` and ``tools/test.py``.

    All go through the same iterations: students have the same learning rates, order and patches. Plain training
    trains a refiner too where that has a stage of its own, to no end, and its cost is not counted.

    Args:
        cfg (Config): Of an SPDModel.
        baseline (str): One of ``BASELINES``.
        seed (int): Of the run.
        out (Path): Folder of the comparison.
        unlabeled (Sequence[str]): Folders of photographs without ground truth, for those that distil.

    Raises:
        ValueError: ``cfg`` trains no SPDModel by iterations, or a config of before was another one.
    """
    if not is_a(cfg.model, 'SPDModel') or 'max_iters' not in (cfg.get('train_cfg') or {}):
        raise ValueError(
            f'{cfg.filename} must train an SPDModel by iterations (model.type, train_cfg.max_iters); found '
            f'{cfg.model.get("type")!r} and train_cfg={cfg.get("train_cfg")}'
        )
    cfg, iters = deepcopy(cfg), cfg.train_cfg.max_iters
    spd, name = cfg.model.spd, f'{baseline}-seed{seed}'
    if baseline != 'plain':
        cfg = with_unlabeled(cfg, unlabeled)
        spd = cfg.model.spd
    if baseline != 'spd':
        spd.masks = dict(type='NoMasks')
        for hook in _unlabeled_hooks(cfg):
            hook.masks = None
    if baseline == 'plain':
        spd.schedule = dict(type='WithoutDistillation', schedule=spd.schedule)
    cfg.randomness = {**(cfg.get('randomness') or {}), 'seed': seed}
    cfg.default_hooks.checkpoint.update(by_epoch=False, interval=max(1, iters // 4), save_last=True)
    trial = Trial(baseline, seed, out / 'configs' / f'{name}.py', out / 'runs' / name, iters)
    cfg.work_dir = str(trial.work_dir)
    before = trial.config.read_text() if trial.config.is_file() else None
    trial.config.parent.mkdir(parents=True, exist_ok=True)
    cfg.dump(trial.config)
    if before not in (None, trial.config.read_text()):
        trial.config.write_text(before)
        raise ValueError(
            f'{trial.work_dir} was begun with other settings than those of now (see {trial.config}): choose another '
            '--work-dir, or remove that one'
        )
    return trial


def with_unlabeled(cfg: Config, folders: Sequence[str]) -> Config:
    """A config that learns from photographs without ground truth too.

    Args:
        cfg (Config): Left as it is. An UnlabeledHook that it has keeps all but its folders; else it gains that of
            ``configs/_base_/spd_unlabeled.py``.
        folders (Sequence[str]): Of the photographs; none of them: the same config.
    """
    cfg = deepcopy(cfg)
    if not folders:
        return cfg
    if not _unlabeled_hooks(cfg):
        base = Config.fromstring("_base_ = 'mmsampriors::_base_/spd_unlabeled.py'", '.py')
        cfg.custom_hooks = [*cfg.custom_hooks, *base.spd_unlabeled_hooks]
        if scale_of(cfg) > 1:
            cfg.custom_hooks[-1].cascade = 1  # an enlarged image is no input
    for hook in _unlabeled_hooks(cfg):
        hook.folders = [str(Path(folder).resolve()) for folder in folders]
    return cfg


def _unlabeled_hooks(cfg):
    return [hook for hook in cfg.custom_hooks if is_a(hook, 'UnlabeledHook')]


def shortened(cfg: Config, iters: Optional[int]) -> Config:
    """A config for fewer or more iterations: all that counts iterations is stretched alike.

    Args:
        cfg (Config): Left as it is.
        iters (int, optional): None: as many as before.
    """
    cfg = deepcopy(cfg)
    if iters is None:
        return cfg
    factor = iters / cfg.train_cfg.max_iters

    def stretch(value):
        if isinstance(value, (list, tuple)):
            return [stretch(one) for one in value]
        # Upwards: a schedule that ends before the training is an error.
        return max(1, math.ceil(value * factor - 1e-9)) if value else value

    schedulers = cfg.get('param_scheduler') or []
    for scheduler in schedulers if isinstance(schedulers, list) else [schedulers]:
        for key in (*COUNTS, *LISTS):
            if isinstance(scheduler.get(key), (int, list, tuple)):
                scheduler[key] = stretch(scheduler[key])
    sampler = cfg.train_dataloader.get('batch_sampler') or {}
    if 'iters' in sampler:
        sampler.iters = stretch(sampler.iters)
    cfg.train_cfg.update(max_iters=iters, val_interval=min(stretch(cfg.train_cfg.get('val_interval', iters)), iters))
    logger = cfg.default_hooks.get('logger') or {}
    # The cost is read from the log: a few lines a stage.
    logger['interval'] = max(1, min(logger.get('interval', 10), iters // 20))
    return cfg

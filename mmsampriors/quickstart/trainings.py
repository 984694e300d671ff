"""Configs and trainings of the quickstart."""

import contextlib
import os
import os.path as osp
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from pathlib import Path

from mmengine.config import Config
from mmengine.registry import init_default_scope

from mmsampriors.datasets.stored_masks import fill_masks
from mmsampriors.engine.export import stock_model
from mmsampriors.experiments import Processes
from mmsampriors.registry import DATASETS, MODELS, build_part, is_a
from mmsampriors.reports import read_scalars

from .progress import TRAININGS, Console, Plan, training_bar

POLL = 0.5  # seconds between two looks at the logs of the trainings


def read_quickstart_config(plan: Plan) -> Config:
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


def training_config(plan: Plan, name: str) -> Config:
    """The config of one training: where it starts, how long it takes, and its rates.

    Args:
        plan (Plan): Of the quickstart.
        name (str): ``first``, ``plain`` or ``spd``.
    """
    cfg, steps = read_quickstart_config(plan), plan.steps(name)
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


def compute_masks(plan: Plan, console: Console):
    """Segments the training photographs that have no masks yet, all in one batch."""
    cfg = read_quickstart_config(plan)
    init_default_scope(cfg.default_scope)
    # All rains share the ground truth of the first, and so its masks.
    photographs = DATASETS.build(cfg.train_dataloader.dataset.datasets[0])
    with contextlib.redirect_stderr(console.err):  # its progress bar
        fill_masks(photographs, build_part(MODELS, cfg.model.spd.masks), batch_size=len(photographs))


def make_processes(plan: Plan) -> Processes:
    """What runs the trainings, on one thread each: their tensors are small, and a second one gains little."""
    processes = Processes(jobs=2, root=Path(plan.config).resolve().parents[2], threads=1)
    processes.warm_up()
    return processes


def train_all(plan: Plan, processes: Processes, console: Console):
    """Trains what is not trained yet, behind one bar.

    Raises:
        RuntimeError: A training failed; the one beside it is ended.
    """
    with training_bar(sum(plan.cost(name, plan.steps(name)) for name in TRAININGS), console) as bar:
        for text, names in (('student', ['first']), ('SPD, plain beside', ['spd', 'plain'])):
            bar.set_postfix_str(text)
            with ThreadPoolExecutor(len(names)) as pool:
                running = [pool.submit(train, plan, name, processes) for name in names]
                try:
                    while running:
                        done, running = wait(running, POLL, FIRST_COMPLETED)
                        bar.update(sum(plan.cost(name, iterations_of(plan, name)) for name in TRAININGS) - bar.n)
                        for future in done:
                            future.result()
                except BaseException:
                    processes.stop()
                    raise


def train(plan: Plan, name: str, processes: Processes):
    """One training by ``tools/train.py``, from its own latest checkpoint where there is one."""
    config = plan.folder('configs', f'{name}.py')
    os.makedirs(osp.dirname(config), exist_ok=True)
    training_config(plan, name).dump(config)
    processes.run(['tools/train.py', config], Path(plan.folder(f'quickstart_{name}.log')))


def iterations_of(plan: Plan, name: str) -> int:
    """The iterations that a training has logged so far."""
    return max((step for step, _ in read_scalars(plan.folder(name), 'iter')), default=0)

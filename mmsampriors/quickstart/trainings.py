"""Configs and trainings of the quickstart."""

import contextlib
import multiprocessing
import os.path as osp
import sys
import traceback

import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.runner import Runner

from mmsampriors.command_line import message_of
from mmsampriors.compat import apply_to_tools
from mmsampriors.datasets.stored_masks import fill_masks
from mmsampriors.engine.export import stock_model
from mmsampriors.engine.optim import keep_freed_memory
from mmsampriors.registry import DATASETS, MODELS, build_part, is_a

from .progress import COST, Console, Plan, ProgressHook, chatter_to, training_bar


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


def train_all(plan: Plan, console: Console):
    """Trains what is not trained yet, behind one bar, each process on one thread."""
    # The plain training, shorter than the SPD training beside it, costs no time of its own.
    cost = plan.first * COST['warmup'] + plan.refiner * COST['refiner'] + plan.then * COST['student']
    with training_bar(cost, console) as bar:
        bar.set_postfix_str('student')
        train(plan, 'first', bar.update)
        with PlainTraining(plan) as beside:
            bar.set_postfix_str('SPD, plain beside')
            train(plan, 'spd', lambda cost: (bar.update(cost), beside.check()))
            beside.wait()


def train(plan: Plan, name: str, report):
    """One training, from its own latest checkpoint where there is one.

    Args:
        plan (Plan): Of the quickstart.
        name (str): ``first``, ``plain`` or ``spd``.
        report (callable): Gets the cost of what was done after each update; see :mod:`mmsampriors.quickstart.progress`.
    """
    torch.set_num_threads(1)  # small tensors: a second thread gains little on a free core, and costs on a busy one
    keep_freed_memory()
    apply_to_tools()  # in the other process too
    runner = Runner.from_cfg(training_config(plan, name))
    runner.register_hook(ProgressHook(report))
    runner.train()


class PlainTraining:
    """The plain training in a process of its own, which ends with this one, however that ends.

    Args:
        plan (Plan): Of the quickstart.
    """

    def __init__(self, plan: Plan):
        context = multiprocessing.get_context('spawn')
        self.log = plan.folder('quickstart_plain.log')
        self.reports, reporting = context.Pipe(duplex=False)
        self.process = context.Process(target=_train_plain, args=(plan, self.log, reporting), daemon=True)
        self.process.start()
        reporting.close()  # the child's copy is the only one: its end is seen here

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.process.kill()
        self.process.join()

    def check(self):
        """Takes the reports; raises what :meth:`wait` raises where the process has failed."""
        try:
            while self.reports.poll():
                self._take()
        except EOFError:
            self.wait()

    def wait(self):
        """Waits for the end of the training.

        Raises:
            RuntimeError: It failed.
        """
        try:
            while True:
                self._take()
        except EOFError:
            self.process.join()
        if self.process.exitcode:
            raise RuntimeError(f'the plain training ended with status {self.process.exitcode}; its log is {self.log}')

    def _take(self):
        """Takes a report: what an update cost, or why the training failed."""
        report = self.reports.recv()
        if isinstance(report, str):
            raise RuntimeError(f'the plain training failed: {report}; its log is {self.log}')


def _train_plain(plan, log, reports):
    """The other process. Where the first one has ended, the next report breaks the pipe, and this one ends too."""
    with chatter_to(log):
        try:
            train(plan, 'plain', reports.send)
        except Exception as error:
            with contextlib.suppress(OSError):  # the log may be what found the disk full
                traceback.print_exc()
            reports.send(message_of(error))
            sys.exit(1)

"""Starting a run: reading its config, processes, and what the console shows."""

import argparse
import contextlib
import gc
import logging
import os
import os.path as osp
import re
from pathlib import Path
from typing import Callable, Iterator, Optional

import torch
import torch.distributed as dist
from mmengine.config import Config
from mmengine.dist import init_dist, master_only
from mmengine.logging import MMLogger
from mmengine.runner import Runner
from torch.utils.data import DataLoader

from mmsampriors.checks import config_reading
from mmsampriors.checks.config_keys import check_overrides
from mmsampriors.checks.pair_check import is_first_process
from mmsampriors.command_line import message_of
from mmsampriors.datasets.deterministic_loader import end_workers_with_parent
from mmsampriors.files import MadeFiles, locked, refuse_remote
from mmsampriors.models.schedules import STAGES
from mmsampriors.registry import name_classes


def read_config(path: str) -> Config:
    """Reads a config file as :func:`mmsampriors.checks.config_reading.parse_config` does, for a tool with a console."""
    calm(MMLogger.get_current_instance())  # for what is looked at before there is a run
    cfg = config_reading.parse_config(path)
    for value in cfg.values():
        if isinstance(value, (dict, list, tuple)):
            name_classes(value)
    return cfg


def override(cfg: Config, options: Optional[dict]):
    """Puts the values of ``--cfg-options`` into a config.

    Raises:
        ValueError: Nothing would read one of them.
    """
    check_overrides(cfg, options or {})
    cfg.merge_from_dict(options or {})
    config_reading.check_sections(cfg)


def load_config(args: argparse.Namespace) -> Config:
    """Reads the config that ``args`` name, with their overrides and work folder.

    Args:
        args (Namespace): With ``config`` and the options of :func:`mmsampriors.command_line.add_common_options`.
    """
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    cfg = read_config(args.config)
    cfg.launcher = args.launcher
    override(cfg, args.cfg_options)
    if args.work_dir:
        cfg.work_dir = args.work_dir
        # mmagic's configs send checkpoints to ./work_dirs whatever the work folder is; None is the work folder.
        if 'out_dir' in (cfg.get('default_hooks', {}).get('checkpoint') or {}):
            cfg.default_hooks.checkpoint.out_dir = None
    elif cfg.get('work_dir') is None:
        cfg.work_dir = osp.join('work_dirs', osp.splitext(osp.basename(args.config))[0])
    return cfg


def enable_amp(cfg: Config):
    """Switches the optimizer wrapper to mixed precision."""
    if 'type' not in cfg.optim_wrapper:
        names = ', '.join(name for name, value in cfg.optim_wrapper.items() if isinstance(value, dict))
        raise ValueError(
            f'--amp is for one optimizer, and optim_wrapper has one each for {names}: leave --amp out, or set '
            "optim_wrapper.NAME.type='AmpOptimWrapper'"
        )
    if cfg.optim_wrapper.type not in ('OptimWrapper', 'AmpOptimWrapper'):
        raise ValueError(f'--amp needs optim_wrapper.type OptimWrapper, found {cfg.optim_wrapper.type}')
    if torch.cuda.is_available():
        cfg.optim_wrapper.type = 'AmpOptimWrapper'
        cfg.optim_wrapper.setdefault('loss_scale', 'dynamic')
    else:
        cfg.optim_wrapper.type = 'mmsampriors.CPUAmpOptimWrapper'
        cfg.optim_wrapper.pop('loss_scale', None)  # bf16 needs none


def enable_auto_scale_lr(cfg: Config):
    """Switches mmengine's scaling of the learning rate on; the checks of configs say what it needs."""
    cfg.auto_scale_lr = {**(cfg.get('auto_scale_lr') or {}), 'enable': True}


@contextlib.contextmanager
def process_group(cfg: Config):
    """Joins a distributed run, and leaves it once the body is through.

    A process that ends without leaving can die in its last moment, after all work is done: gloo's threads free the
    tensors of the last collective, which aborts while Python shuts down (torch 2.14). The threads end with the last
    reference to the group, so the body must keep no model. After an error the group stays: the others may be
    waiting for this process, and the launcher stops them.

    Args:
        cfg (Config): With ``launcher``.
    """
    _check_device(cfg)
    _join(cfg)
    yield
    if dist.is_initialized():
        dist.destroy_process_group()
        gc.collect()


def _check_device(cfg):
    """Refuses more processes on a machine than it has GPUs; torch would name no number."""
    local, there = int(os.environ.get('LOCAL_RANK', 0)), torch.cuda.device_count()
    if cfg.launcher == 'pytorch' and torch.cuda.is_available() and local >= there:
        raise ValueError(
            f'process {local} (from 0) of this machine has no GPU: {there} can be seen (CUDA_VISIBLE_DEVICES='
            f'{os.environ.get("CUDA_VISIBLE_DEVICES", "")}). Start as many processes as there are GPUs'
        )


def _join(cfg):
    """As mmengine's Runner does when it is built; where there is no accelerator, mmengine 0.10.7 would ask for CUDA."""
    if cfg.launcher == 'none' or dist.is_initialized():
        return
    if cfg.launcher == 'pytorch' and 'RANK' not in os.environ:
        raise ValueError('--launcher pytorch is for processes that torchrun starts: use bash tools/dist_train.sh')
    if torch.cuda.is_available():
        init_dist(cfg.launcher, **cfg.get('env_cfg', {}).get('dist_cfg', {}))
        return
    if cfg.launcher != 'pytorch':
        raise RuntimeError(
            f'--launcher {cfg.launcher} needs CUDA devices; without them use --launcher pytorch (tools/dist_train.sh)'
        )
    dist.init_process_group('gloo')
    # As mmengine's Runner does on GPUs where the config has no wrapper. DDP by itself would send all buffers at every
    # forward pass, the frozen student among them.
    default = dict(
        type='MMDistributedDataParallel',
        broadcast_buffers=False,
        find_unused_parameters=cfg.get('find_unused_parameters', False),
    )
    cfg.model_wrapper_cfg = {**default, **(cfg.get('model_wrapper_cfg') or {}), 'device_ids': None}


#: What a training leaves.
LEFT = ('last_checkpoint', 'iter_*.pth', 'epoch_*.pth', 'best_*.pth', 'student.pth', 'student_best_*.pth')


def check_work_dir(cfg: Config):
    """Refuses a work folder in which the training would replace what it did not make; by the first process of a run.

    Args:
        cfg (Config): With ``work_dir`` and ``resume``.

    Raises:
        FileExistsError: The folder holds another training, or a file of the name of the config.
    """
    if not is_first_process(cfg.get('launcher', 'none')):
        return
    refuse_remote(cfg.work_dir, 'a work folder')
    left = [path.name for pattern in LEFT for path in sorted(Path(cfg.work_dir).glob(pattern))]
    if left and not cfg.get('resume'):
        raise FileExistsError(
            f'{cfg.work_dir} holds a training already ({left[0]}), whose files a new one would replace: go on with it '
            'by --resume, or name another folder with --work-dir'
        )
    MadeFiles(cfg.work_dir, 'train').refuse_changed(filter(None, [config_name(cfg)]))


@contextlib.contextmanager
def own_work_dir(cfg: Config) -> Iterator[None]:
    """Keeps other trainings out of the work folder as long as the body runs; by the first process of a run.

    Args:
        cfg (Config): With ``work_dir`` and ``resume``.

    Raises:
        FileExistsError: See :func:`check_work_dir`.
        RuntimeError: A training runs there.
    """
    check_work_dir(cfg)  # before the folder is touched
    first = is_first_process(cfg.get('launcher', 'none'))
    with locked(cfg.work_dir, 'a training') if first else contextlib.nullcontext():
        check_work_dir(cfg)  # another training may have ended meanwhile
        yield


#: Messages of more lines (the environment, the whole config, the table of hooks) go to the file only.
MAX_LINES = 8


#: What mmengine 0.10.7 and mmagic 1.2.0 warn of in each run that is as it should be, as the message begins or goes on.
UPSTREAM_NOISE = re.compile(
    r'\S+ is not a meta file, simply parsed as meta information'
    r'|The prefix is not set in metric class '
    r'|"FileClient" will be deprecated in future'
    r'|"HardDiskBackend" is the alias of "LocalBackend"'
)


class ConsoleFilter(logging.Filter):
    """Keeps from the console long messages that are no warnings, and warnings that are upstream's of each run."""

    def filter(self, record: logging.LogRecord) -> bool:
        if record.levelno >= logging.WARNING:
            return record.levelno > logging.WARNING or not UPSTREAM_NOISE.match(record.getMessage())
        return record.getMessage().count('\n') < MAX_LINES


def calm(logger: MMLogger):
    """Puts the filter on what a logger shows on the console; once."""
    for handler in logger.handlers:
        if not isinstance(handler, logging.FileHandler) and not any(
            isinstance(one, ConsoleFilter) for one in handler.filters
        ):
            handler.addFilter(ConsoleFilter())


class StageFilter(logging.Filter):
    """Writes the name of the stage into log lines, where mmengine has only numbers."""

    def filter(self, record: logging.LogRecord) -> bool:
        if 'spd.stage: ' in str(record.msg):
            record.msg = re.sub(
                r'spd\.stage: (\d)(?:\.0+)?(?!\S)', lambda found: f'spd.stage: {STAGES[int(found[1])]}', record.msg
            )
        return True


#: Methods of mmengine 0.10.7's Runner, and the keys of the config that they build.
BUILDERS = dict(
    setup_env='env_cfg',
    set_randomness='randomness',
    build_visualizer='visualizer',
    build_model='model',
    register_default_hooks='default_hooks',
    register_custom_hooks='custom_hooks',
    build_log_processor='log_processor',
    build_train_loop='train_cfg with train_dataloader',
    build_val_loop='val_cfg with val_dataloader and val_evaluator',
    build_optim_wrapper='optim_wrapper',
    build_param_scheduler='param_scheduler',
)


def _naming(keys: str, build: Callable, done: str = 'built') -> Callable:
    """A method whose errors begin with the keys of the config that it builds."""

    def building(*args, **kwargs):
        try:
            return build(*args, **kwargs)
        except Exception as error:  # of any part
            raise ValueError(f'{keys} cannot be {done}: {message_of(error)}') from error

    return building


class ConsoleRunner(Runner):
    """mmengine's Runner with a console for people; the log file stays as it is.

    It replaces no config of others, leaves no worker of a loader behind, and names what it could not build.
    """

    def build_logger(self, *args, **kwargs) -> MMLogger:
        logger = super().build_logger(*args, **kwargs)
        logger.addFilter(StageFilter())
        calm(logger)
        return logger

    def resume(self, filename, *args, **kwargs):
        _naming(f'weights, optimizer or schedulers of {filename}', super().resume, 'resumed')(filename, *args, **kwargs)

    @staticmethod
    def build_dataloader(*args, **kwargs) -> DataLoader:
        return end_workers_with_parent(Runner.build_dataloader(*args, **kwargs))

    @master_only
    def dump_config(self):
        """Writes the whole config to the work folder."""
        made, name = MadeFiles(self.work_dir, 'train'), config_name(self.cfg) or f'{self.timestamp}.py'
        made.write(name, self.cfg.dump())


for _name, _keys in BUILDERS.items():
    setattr(ConsoleRunner, _name, _naming(_keys, getattr(Runner, _name)))


def config_name(cfg: Config) -> Optional[str]:
    """The name under which a config is written to the work folder; None where it has no file."""
    return osp.basename(cfg.filename) if cfg.filename else None

"""Starting a run from the command line."""

import argparse
import contextlib
import gc
import os
import os.path as osp
from typing import Optional

import torch
import torch.distributed as dist
from mmengine.config import Config

from mmsampriors.checks.config_keys import check_overrides


def read_config(path: str) -> Config:
    """Reads a config file.

    Raises:
        FileNotFoundError: There is none.
    """
    if not osp.isfile(path):
        raise FileNotFoundError(f'there is no config {path} (looked in {os.getcwd()})')
    return Config.fromfile(path)


def override(cfg: Config, options: Optional[dict]):
    """Puts the values of ``--cfg-options`` into a config.

    Raises:
        ValueError: Nothing would read one of them.
    """
    check_overrides(cfg, options or {})
    cfg.merge_from_dict(options or {})


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
        if 'out_dir' in cfg.get('default_hooks', {}).get('checkpoint', {}):
            cfg.default_hooks.checkpoint.out_dir = None
    elif cfg.get('work_dir') is None:
        cfg.work_dir = osp.join('work_dirs', osp.splitext(osp.basename(args.config))[0])
    return cfg


def enable_amp(cfg: Config):
    """Switches the optimizer wrapper to mixed precision."""
    if cfg.optim_wrapper.type not in ('OptimWrapper', 'AmpOptimWrapper'):
        raise ValueError(f'--amp needs optim_wrapper.type OptimWrapper, found {cfg.optim_wrapper.type}')
    if torch.cuda.is_available():
        cfg.optim_wrapper.type = 'AmpOptimWrapper'
        cfg.optim_wrapper.setdefault('loss_scale', 'dynamic')
    else:
        cfg.optim_wrapper.type = 'mmsampriors.CPUAmpOptimWrapper'
        cfg.optim_wrapper.pop('loss_scale', None)  # bf16 needs none


def enable_auto_scale_lr(cfg: Config):
    """Switches mmengine's scaling of the learning rate on."""
    if 'base_batch_size' not in cfg.get('auto_scale_lr', {}):
        raise ValueError(
            '--auto-scale-lr needs the total batch that the learning rate was set for: add '
            'auto_scale_lr = dict(base_batch_size=...) to the config'
        )
    cfg.auto_scale_lr.enable = True


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
    _join_on_cpu(cfg)
    yield
    if dist.is_initialized():
        dist.destroy_process_group()
        gc.collect()


def _join_on_cpu(cfg):
    """Where there is no accelerator, mmengine 0.10.7 would ask for CUDA; else mmengine's Runner joins."""
    if cfg.launcher == 'none' or torch.cuda.is_available() or dist.is_initialized():
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

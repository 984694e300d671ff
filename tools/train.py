"""Trains a restoration network, with SAM-prior distillation where the config asks for it."""

import argparse
import os.path as osp
import sys

# A script in a checkout runs the checkout, whatever is installed.
sys.path.insert(0, osp.dirname(osp.dirname(osp.abspath(__file__))))

import mmsampriors  # noqa: F401  (before mmagic, which it mends)

# isort: split
import torch  # noqa: E402
from mmengine.runner import Runner  # noqa: E402

from mmsampriors.checks.config_check import check_config, check_training  # noqa: E402
from mmsampriors.checks.pair_check import check_data  # noqa: E402
from mmsampriors.engine.launch import add_common_options, load_config, process_group  # noqa: E402
from mmsampriors.engine.optim.cpu_memory import keep_freed_memory  # noqa: E402


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='config file')
    parser.add_argument('--resume', action='store_true', help='go on from the latest checkpoint in the work folder')
    parser.add_argument(
        '--amp', action='store_true', help='mixed precision: fp16, or optim_wrapper.dtype; bf16 without a GPU'
    )
    parser.add_argument('--auto-scale-lr', action='store_true', help='scale the learning rate with the total batch')
    add_common_options(parser)
    return parser.parse_args()


def enable_amp(cfg):
    """Switches the optimizer wrapper to mixed precision."""
    if cfg.optim_wrapper.type not in ('OptimWrapper', 'AmpOptimWrapper'):
        raise ValueError(f'--amp needs optim_wrapper.type OptimWrapper, found {cfg.optim_wrapper.type}')
    if torch.cuda.is_available():
        cfg.optim_wrapper.type = 'AmpOptimWrapper'
        cfg.optim_wrapper.setdefault('loss_scale', 'dynamic')
    else:
        cfg.optim_wrapper.type = 'mmsampriors.CPUAmpOptimWrapper'
        cfg.optim_wrapper.pop('loss_scale', None)  # bf16 needs none


def enable_auto_scale_lr(cfg):
    """Switches mmengine's scaling of the learning rate on."""
    if 'base_batch_size' not in cfg.get('auto_scale_lr', {}):
        raise ValueError(
            '--auto-scale-lr needs the total batch that the learning rate was set for: add '
            'auto_scale_lr = dict(base_batch_size=...) to the config'
        )
    cfg.auto_scale_lr.enable = True


def main():
    args = parse_args()
    cfg = load_config(args)
    if args.amp:
        enable_amp(cfg)
    if args.auto_scale_lr:
        enable_auto_scale_lr(cfg)
    cfg.resume = cfg.get('resume', False) or args.resume
    check_config(cfg)
    check_training(cfg)
    check_data(cfg)
    keep_freed_memory()
    with process_group(cfg):
        Runner.from_cfg(cfg).train()


if __name__ == '__main__':
    main()

"""Trains a restoration network, with SAM-prior distillation where the config asks for it."""

import argparse
import os.path as osp
import sys

# A script in a checkout runs the checkout, whatever is installed.
sys.path.insert(0, osp.dirname(osp.dirname(osp.abspath(__file__))))

from mmsampriors.command_line import add_common_options, count, run_tool


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='config file')
    parser.add_argument('--resume', action='store_true', help='go on from the latest checkpoint in the work folder')
    parser.add_argument(
        '--amp', action='store_true', help='mixed precision: fp16, or optim_wrapper.dtype; bf16 without a GPU'
    )
    parser.add_argument('--auto-scale-lr', action='store_true', help='scale the learning rate with the total batch')
    parser.add_argument(
        '--accumulate',
        type=count,
        metavar='N',
        help='gradients of N batches make an update, and the training is N times as long: 8 for one GPU in place of 8',
    )
    parser.add_argument(
        '--check',
        action='store_true',
        help='do not train: list all that training would refuse, time ten steps of each stage, draw the schedule',
    )
    add_common_options(parser)
    return parser.parse_args()


def main(args):
    from mmsampriors.checks.pair_check import check_data
    from mmsampriors.checks.training_checks import CONFIG_CHECKS, prefer_own_checkpoint
    from mmsampriors.engine.distributed import wait_for_all_ranks
    from mmsampriors.engine.launch import (
        ConsoleRunner,
        enable_amp,
        enable_auto_scale_lr,
        load_config,
        own_work_dir,
        process_group,
    )
    from mmsampriors.engine.optim import accumulate, keep_freed_memory

    cfg = load_config(args)
    if args.amp:
        enable_amp(cfg)
    if args.auto_scale_lr:
        enable_auto_scale_lr(cfg)
    if args.accumulate is not None:
        accumulate(cfg, args.accumulate)
    cfg.resume = cfg.get('resume', False) or args.resume
    prefer_own_checkpoint(cfg)
    if args.check:
        return rehearse_training(cfg, images=not args.no_check)
    for check in CONFIG_CHECKS:
        check(cfg)
    keep_freed_memory()
    with process_group(cfg), own_work_dir(cfg):
        with wait_for_all_ranks('checking the images'):
            check_data(cfg, images=not args.no_check)
        ConsoleRunner.from_cfg(cfg).train()


def rehearse_training(cfg, images):
    from mmsampriors.engine.rehearsal import problems_of, rehearse

    problems = problems_of(cfg, images)
    if problems:
        sys.exit('\n\n'.join(f'{number}. {text}' for number, text in enumerate(problems, 1)))
    print('the checks found nothing that training would refuse; ten steps of each stage now', flush=True)
    print(f'\n{rehearse(cfg)}')


if __name__ == '__main__':
    run_tool(main, parse_args())

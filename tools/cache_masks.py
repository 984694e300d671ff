"""Computes the masks of a config's training images once and stores them: ``cache_masks.py CONFIG``.

Can be stopped at any moment and started again. Shares the work over processes (torchrun) and machines (--shard) that
see the same folders, without any other coordination.
"""

import argparse
import os
import os.path as osp
import sys

# A script in a checkout runs the checkout, whatever is installed.
sys.path.insert(0, osp.dirname(osp.dirname(osp.abspath(__file__))))

from mmsampriors.command_line import add_cfg_options, add_debug, run_tool
from mmsampriors.shards import shard_of


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('config', help='config file; model.spd.masks says what is computed and where it goes')
    add_cfg_options(parser)
    add_debug(parser)
    parser.add_argument(
        '--shard',
        type=shard_of,
        default=(0, 1),
        metavar='I/N',
        help='every N-th image from the I-th (from 0) on, e.g. one shard a machine',
    )
    parser.add_argument('--device', help='defaults to CUDA, one device a process, or else the CPU')
    parser.add_argument('--batch-size', type=int, default=1, help='images that are segmented at once')
    return parser.parse_args()


def share_of_process(shard: tuple) -> tuple:
    """A shard, divided among the processes of torchrun."""
    rank, world_size = int(os.environ.get('RANK', 0)), int(os.environ.get('WORLD_SIZE', 1))
    return shard[0] + rank * shard[1], shard[1] * world_size


def main(args):
    import torch
    from mmengine.registry import init_default_scope

    from mmsampriors.checks.pair_check import check_data
    from mmsampriors.datasets.stored_masks import carry_masks, fill_masks, stored_source_of
    from mmsampriors.engine.launch import read_config
    from mmsampriors.engine.restorer import restorer_of
    from mmsampriors.registry import DATASETS, is_a

    cfg = read_config(args.config)
    cfg.merge_from_dict(args.cfg_options or {})
    init_default_scope(cfg.get('default_scope', 'mmagic'))
    source = stored_source_of(cfg)
    check_data(cfg)
    dataset = DATASETS.build(cfg.train_dataloader.dataset)
    hooks = [hook for hook in cfg.get('custom_hooks', []) if is_a(hook, 'MaskCacheHook')]
    carry_masks(dataset, source, tuple(name for hook in hooks for name in hook.get('neutral', ())))
    default = f'cuda:{os.environ.get("LOCAL_RANK", 0)}' if torch.cuda.is_available() else 'cpu'
    filled = fill_masks(
        dataset,
        source,
        restorer_of(cfg, source, dataset),
        shard=share_of_process(args.shard),
        batch_size=args.batch_size,
        device=args.device or default,
    )
    print(f'{filled.ready} images had their masks, {filled.computed} got them now')


if __name__ == '__main__':
    run_tool(main, parse_args())

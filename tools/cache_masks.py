"""Computes the masks of a config's training images once and stores them: ``cache_masks.py CONFIG``.

Can be stopped at any moment and started again. Processes of torchrun share the work so that a slow one does less.
Machines that see the same folders share it by --shard.
"""

import argparse
import os
import os.path as osp
import sys

# A script in a checkout runs the checkout, whatever is installed.
sys.path.insert(0, osp.dirname(osp.dirname(osp.abspath(__file__))))

from mmsampriors.command_line import add_cfg_options, add_debug, add_no_check, count, run_tool
from mmsampriors.files import shard_of


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('config', help='config file; model.spd.masks says what is computed and where it goes')
    add_cfg_options(parser)
    add_no_check(parser)
    add_debug(parser)
    parser.add_argument(
        '--shard',
        type=shard_of,
        default=(0, 1),
        metavar='I/N',
        help='every N-th image from the I-th (from 0) on, e.g. one shard a machine',
    )
    parser.add_argument('--device', help='defaults to CUDA, one device a process, or else the CPU')
    parser.add_argument(
        '--batch-size', type=count, help='images that are segmented at once; by default what the free memory allows'
    )
    parser.add_argument(
        '--export',
        nargs=2,
        metavar=('coco', 'FOLDER'),
        help='then writes the masks to FOLDER as COCO run lengths, NAME.json for an image NAME.*, as SA-1B has them',
    )
    args = parser.parse_args()
    if args.export and args.export[0] != 'coco':
        parser.error(f'--export knows the form coco, found {args.export[0]!r}')
    if args.export and (args.shard, worker()) != ((0, 1), (0, 1)):
        parser.error('--export writes the masks of all images: once all shards are done, run it in one process')
    return args


def worker() -> tuple:
    """Number of this process among those of torchrun, and how many these are."""
    return int(os.environ.get('RANK', 0)), int(os.environ.get('WORLD_SIZE', 1))


def main(args):
    import torch
    from mmengine.registry import init_default_scope

    from mmsampriors.checks.config_parts import check_parts
    from mmsampriors.checks.pair_check import check_data
    from mmsampriors.datasets.stored_masks import carry_masks, check_export, export_masks, fill_masks, stored_source_of
    from mmsampriors.engine.launch import override, read_config
    from mmsampriors.engine.pretrained import restorer_of
    from mmsampriors.masks.sam.ops import torch_device
    from mmsampriors.registry import DATASETS, is_a

    local = f'cuda:{os.environ.get("LOCAL_RANK", 0)}' if torch.cuda.is_available() else 'cpu'
    device = torch_device(args.device or local)
    cfg = read_config(args.config)
    override(cfg, args.cfg_options)
    init_default_scope(cfg.get('default_scope', 'mmagic'))
    check_parts(cfg)
    source = stored_source_of(cfg)
    check_data(cfg, images=not args.no_check)
    dataset = DATASETS.build(cfg.train_dataloader.dataset)
    if args.export:
        check_export(dataset, source, args.export[1])
    hooks = [hook for hook in cfg.get('custom_hooks') or [] if is_a(hook, 'MaskCacheHook')]
    carry_masks(dataset, source, tuple(name for hook in hooks for name in hook.get('neutral', ())))
    filled = fill_masks(
        dataset,
        source,
        restorer_of(cfg, source, dataset),
        shard=args.shard,
        worker=worker(),
        batch_size=args.batch_size,
        device=device,
    )
    print(f'{filled.ready} images had their masks, {filled.computed} got them now')
    if args.export:
        print(f'{export_masks(dataset, source, args.export[1])} files of masks written to {args.export[1]}')


if __name__ == '__main__':
    run_tool(main, parse_args())

"""Exports the student of a training checkpoint: OUT (*.pth), and its stock mmagic config beside it."""

import argparse
import os.path as osp
import sys

sys.path.insert(0, osp.dirname(osp.dirname(osp.abspath(__file__))))

from mmsampriors.command_line import add_debug, run_tool

PARTIAL = 'Take a checkpoint that this config trained. To export it as it is, add --allow-partial'


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='config that trained the checkpoint')
    parser.add_argument('checkpoint', help='training checkpoint')
    parser.add_argument('out', help='file to write, *.pth; the config goes beside it, *.py')
    parser.add_argument(
        '--allow-partial', action='store_true', help='export a checkpoint that lacks weights of the student'
    )
    add_debug(parser)
    args = parser.parse_args()
    if not args.out.endswith('.pth'):
        parser.error(f'OUT must end in .pth, found {args.out}')
    return args


def main(args):
    from mmengine.registry import init_default_scope
    from mmengine.runner.checkpoint import CheckpointLoader

    from mmsampriors.engine.export import stock_model, write_student
    from mmsampriors.engine.launch import read_config
    from mmsampriors.engine.pretrained import refuse_misfit, weights_of
    from mmsampriors.registry import MODELS, build_part

    cfg = read_config(args.config)
    checkpoint = CheckpointLoader.load_checkpoint(args.checkpoint, map_location='cpu')
    state_dict = checkpoint.get('state_dict', checkpoint)
    if not args.allow_partial:
        init_default_scope(cfg.get('default_scope', 'mmagic'))
        student = build_part(MODELS, stock_model(cfg.model))
        refuse_misfit(state_dict, weights_of(student, 'generator'), args.config, PARTIAL)
    write_student(state_dict, cfg, args.out)
    print(f'wrote {args.out} and {osp.splitext(args.out)[0]}.py')


if __name__ == '__main__':
    run_tool(main, parse_args())

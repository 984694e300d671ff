"""Exports the student of a training checkpoint: OUT (*.pth), and its stock mmagic config beside it."""

import argparse
import os.path as osp
import sys

sys.path.insert(0, osp.dirname(osp.dirname(osp.abspath(__file__))))

from mmsampriors.command_line import add_debug, run_tool


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='config that trained the checkpoint')
    parser.add_argument('checkpoint', help='training checkpoint')
    parser.add_argument('out', help='file to write, *.pth; the config goes beside it, *.py')
    add_debug(parser)
    args = parser.parse_args()
    if not args.out.endswith('.pth'):
        parser.error(f'OUT must end in .pth, found {args.out}')
    return args


def main(args):
    from mmengine.runner.checkpoint import CheckpointLoader

    from mmsampriors.engine.export import write_student
    from mmsampriors.engine.launch import read_config

    cfg = read_config(args.config)
    checkpoint = CheckpointLoader.load_checkpoint(args.checkpoint, map_location='cpu')
    write_student(checkpoint.get('state_dict', checkpoint), cfg, args.out)
    print(f'wrote {args.out} and {osp.splitext(args.out)[0]}.py')


if __name__ == '__main__':
    run_tool(main, parse_args())

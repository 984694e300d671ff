"""Exports the student of a training checkpoint: OUT (*.pth), and its stock mmagic config beside it."""

import argparse
import os.path as osp
import sys

sys.path.insert(0, osp.dirname(osp.dirname(osp.abspath(__file__))))

import mmsampriors  # noqa: F401  (before mmagic, which it mends)

# isort: split
from mmengine.config import Config  # noqa: E402
from mmengine.runner.checkpoint import CheckpointLoader  # noqa: E402

from mmsampriors.engine.export import write_student  # noqa: E402


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='config that trained the checkpoint')
    parser.add_argument('checkpoint', help='training checkpoint')
    parser.add_argument('out', help='file to write, *.pth; the config goes beside it, *.py')
    args = parser.parse_args()
    if not args.out.endswith('.pth'):
        parser.error(f'OUT must end in .pth, found {args.out}')
    checkpoint = CheckpointLoader.load_checkpoint(args.checkpoint, map_location='cpu')
    write_student(checkpoint.get('state_dict', checkpoint), Config.fromfile(args.config), args.out)
    print(f'wrote {args.out} and {osp.splitext(args.out)[0]}.py')


if __name__ == '__main__':
    main()

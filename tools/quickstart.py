"""The main job on an embedded default, in minutes on two cores.

Makes rainy pairs from the photographs that scikit-image ships and trains a small network. Trains it on from there
twice, for the same number of its own updates: plainly, and with SAM-prior distillation, which trains a refiner first
and sees heavier rain too, without its ground truth. Compares the two in both rains, on photographs that were not
trained on. An interrupted run goes on where it was; after a finished one, a new one starts.
"""

import argparse
import os.path as osp
import sys

ROOT = osp.dirname(osp.dirname(osp.abspath(__file__)))
sys.path.insert(0, ROOT)

from mmsampriors.command_line import add_debug, count, run_tool


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--out', default=osp.join(ROOT, 'work_dirs', 'quickstart'), help='folder of the results')
    parser.add_argument('--first', type=count, default=1500, help='updates of the plain training that both start from')
    parser.add_argument('--refiner', type=count, default=300, help='updates of the refiner over that student')
    parser.add_argument('--then', type=count, default=600, help="the student's further updates, plainly and with SPD")
    add_debug(parser)
    return parser.parse_args()


def main(args):
    print('Trains a small network to clear rain, plainly and with SPD: minutes on two cores.', flush=True)
    # Imports PyTorch and mmagic, which takes seconds: first the line above.
    from mmsampriors.quickstart import Plan, run

    config = osp.join(ROOT, 'configs', 'spd', 'quickstart.py')
    run(Plan(config, args.out, args.first, args.refiner, args.then))


if __name__ == '__main__':
    run_tool(main, parse_args(), heavy=False)

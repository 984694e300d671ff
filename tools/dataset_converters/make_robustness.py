"""Makes the test sets of configs/_base_/robustness.py from one folder of photographs."""

import argparse
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from mmsampriors.data_preparation.degradations import ROBUSTNESS  # noqa: E402
from mmsampriors.data_preparation.pairs import PairError, make_pairs  # noqa: E402

from pair_tool import whole_number  # isort: skip


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument('source', metavar='PHOTOGRAPHS', help='folder of photographs; subfolders too')
    parser.add_argument(
        'out', metavar='OUT', nargs='?', default='data/robustness', help='folder to make, OUT/SET/{input,target}'
    )
    parser.add_argument('--task', nargs='+', choices=list(ROBUSTNESS), default=list(ROBUSTNESS), help='which test sets')
    parser.add_argument('--seed', type=whole_number(0), default=0, help='another seed makes other pairs')
    return parser.parse_args()


def main():
    args = parse_args()
    for task in args.task:
        for name, (degrade, settings) in ROBUSTNESS[task].items():
            print(f'{name}: {degrade.__name__}')
            try:
                out = Path(args.out) / name
                make_pairs(args.source, out, degrade, settings, seed=args.seed, workers=os.cpu_count())
            except (PairError, OSError) as error:
                sys.exit(f'error: {error}')
            except KeyboardInterrupt:
                sys.exit('interrupted: the same command goes on from here')
    print(f'In {args.out}: {", ".join(name for task in args.task for name in ROBUSTNESS[task])}')


if __name__ == '__main__':
    main()

"""What the makers of rain, noise, blur and low resolution have in common: their command line."""

import argparse
import inspect
import os
import sys
from dataclasses import fields
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from mmsampriors.command_line import let_names_print  # noqa: E402
from mmsampriors.data_preparation.pairs import PairError, make_pairs  # noqa: E402


def main(degrade, settings_type, note=None):
    """Reads the command line for one degradation, makes the pairs and ends the process.

    Args:
        degrade (callable): ``degrade(image, rng, **settings)``; the first line of its docstring heads the help.
        settings_type (type): Its table of settings; every field becomes an option.
        note (str | None): Last line of the help.
    """
    let_names_print()
    parser = build_parser(degrade, settings_type, note)
    args = vars(parser.parse_args())
    if not args['out']:
        parser.error('OUT must name a folder, found nothing')
    source, out, seed, workers = (args.pop(name) for name in ('source', 'out', 'seed', 'workers'))
    try:
        settings = settings_type(**{name: _as_setting(name, value) for name, value in args.items()})
    except ValueError as error:
        parser.error(str(error))
    try:
        count = make_pairs(source, out, degrade, settings, seed=seed, workers=workers)
    except (PairError, OSError, ValueError) as error:
        sys.exit(f'error: {error}')
    except KeyboardInterrupt:
        sys.exit('interrupted: the same command goes on from here')
    print(f'{count} pairs in {out}: input/ (degraded) and target/')


def build_parser(degrade, settings_type, note=None) -> argparse.ArgumentParser:
    """Builds the command line: the folders, every setting of the degradation, seed and workers."""
    parser = argparse.ArgumentParser(
        description=f'{inspect.getdoc(degrade).splitlines()[0]} Makes pairs in the layout of mmagic from any folder '
        'of photographs. A stopped run goes on when it is started again.',
        epilog=note,
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument('source', metavar='PHOTOGRAPHS', help='folder of photographs; subfolders too')
    parser.add_argument('out', metavar='OUT', help='folder to make: OUT/input/NAME.png and OUT/target/NAME.png')
    for item in fields(settings_type):
        parser.add_argument(
            f'--{item.name}',
            type=float,
            nargs='+',
            default=item.default,
            metavar='NUMBER',
            help=f'{item.metadata["description"]}; one number, or lowest and highest',
        )
    parser.add_argument('--seed', type=whole_number(0), default=0, help='another seed makes other pairs')
    parser.add_argument(
        '--workers', type=whole_number(1), default=os.cpu_count(), help='threads; they change nothing in the result'
    )
    return parser


def _as_setting(name, value):
    if not isinstance(value, list):
        return value
    if len(value) > 2:
        raise ValueError(f'--{name} takes one number, or lowest and highest; found {len(value)} numbers')
    return value[0] if len(value) == 1 else tuple(value)


def whole_number(lowest):

    def parse(text):
        if not text.isdecimal() or int(text) < lowest:
            raise argparse.ArgumentTypeError(f'must be a whole number from {lowest} up, found {text!r}')
        return int(text)

    return parse

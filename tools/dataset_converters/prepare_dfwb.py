"""Gathers the photographs of DIV2K, Flickr2K, WED and BSD400 for Gaussian denoising: crops of 512 pixels that overlap
by 96; what has a side of 800 pixels or less stays whole.
"""

import argparse
import sys
from pathlib import Path

from crop_tool import files_in, prepare, refuse_own_source  # puts the checkout on sys.path

from mmsampriors.images import TRAINING_SUFFIXES

SIZE, OVERLAP, WHOLE_UP_TO = 512, 96, 800
SETS = ('DIV2K', 'Flickr2K', 'WaterlooED', 'BSD400')


def photographs_of(source, sets):
    """Name, ``SET-NAME``, to file."""
    missing = [name for name in sets if not (source / name).is_dir()]
    if missing:
        sys.exit(f'error: there is no {", ".join(missing)} in {source}; --sets takes fewer of them')
    images = {}
    for name in sets:
        for path in files_in(source / name, '*'):
            if path.suffix.lower() in TRAINING_SUFFIXES:
                other = images.setdefault(f'{name}-{path.stem}', {'{}.png': path})['{}.png']
                if other != path:
                    sys.exit(f'error: {other} and {path} would have the same crops: rename or remove one')
    return images


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('source', metavar='FOLDER', help=f'holds {", ".join(SETS)}')
    parser.add_argument('out', metavar='OUT', nargs='?', default='data/DFWB', help='default: data/DFWB')
    parser.add_argument('--sets', nargs='+', choices=SETS, default=SETS, help='which of them')
    args = parser.parse_args()
    refuse_own_source(args.source, args.out)
    images = photographs_of(Path(args.source), args.sets)
    prepare(images, args.out, size=SIZE, overlap=OVERLAP, whole_up_to=WHOLE_UP_TO)


if __name__ == '__main__':
    main()

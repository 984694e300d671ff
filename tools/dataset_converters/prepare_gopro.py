"""Brings GoPro to the layout of mmagic's configs: train in crops of 512 pixels that overlap by 256, test whole.

Takes GOPRO_Large as its authors release it, {train,test}/SEQUENCE/{blur,blur_gamma,sharp}, or as Restormer's repository
links it, {train,test}/{input,target}.
"""

import argparse
import sys
from pathlib import Path

from crop_tool import files_in, prepare, refuse_own_source  # puts the checkout on sys.path

SIZE, OVERLAP = 512, 256


def pairs_of(folder, blur):
    """Name to blurred and sharp file of one split."""
    plain = (folder / 'input').is_dir()
    sharp = files_in(folder, 'target/*' if plain else '*/sharp/*')
    partner = {path: folder / 'input' / path.name if plain else path.parents[1] / blur / path.name for path in sharp}
    missing = [path for path in partner.values() if not path.exists()]
    if missing:
        sys.exit(f'error: {len(missing)} blurred images are absent, such as {missing[0]}')
    names = {path: path.stem if plain else f'{path.parents[1].name}-{path.stem}' for path in sharp}
    return {names[path]: {'blur/{}.png': partner[path], 'sharp/{}.png': path} for path in sharp}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('source', metavar='GOPRO', help='folder with train/ and test/')
    parser.add_argument('out', metavar='OUT', nargs='?', default='data/gopro', help='default: data/gopro')
    parser.add_argument(
        '--blur',
        choices=['blur', 'blur_gamma'],
        default='blur',
        help='which of the two blurred versions; publications since MPRNet measure on blur (default)',
    )
    args = parser.parse_args()
    refuse_own_source(args.source, args.out)
    for split, size in (('train', SIZE), ('test', 0)):
        made_of = dict(source=str(Path(args.source).resolve()), blur=args.blur)
        images = pairs_of(Path(args.source) / split, args.blur)
        prepare(images, Path(args.out) / split, size=size, overlap=OVERLAP, **made_of)


if __name__ == '__main__':
    main()

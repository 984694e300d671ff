"""Brings DIV2K to the layout of mmagic's configs: sub-images of 480 pixels that overlap by 240, of the photographs
and of their small copies, and the lists of those to train on (0001 to 0800) and to test on (0801 to 0900).

Takes the archives as DIV2K links them, unpacked: DIV2K_{train,valid}_HR and DIV2K_{train,valid}_LR_bicubic/X{2,3,4}.
"""

import argparse
import re
import sys
from contextlib import suppress
from pathlib import Path

from crop_tool import files_in, prepare  # puts the checkout on sys.path

from mmsampriors.files import MadeFiles
from mmsampriors.images import PhotographError, open_image

SIZE, OVERLAP = 480, 240
LAST_TO_TRAIN = '0800'
LISTS = ('meta_info_DIV2K800sub_GT.txt', 'meta_info_DIV2K100sub_GT.txt')


def images_of(source, kind, template):
    """Name, such as 0001, to file, of both splits; that of validation may be absent."""
    found = files_in(source, f'DIV2K_train_{kind}/*.png') + sorted(source.glob(f'DIV2K_valid_{kind}/*.png'))
    return {re.sub('x[234]$', '', path.stem): {template: path} for path in found}


def refuse_other_sizes(large, small, scale):
    """Ends where a photograph is not as many times as large as its small copy: their crops would show other places."""
    for name in large:
        (photograph,), (copy,) = (images[name].values() for images in (large, small))
        # What cannot be read is named with all others of its kind.
        with suppress(OSError, PhotographError), open_image(photograph) as one, open_image(copy) as other:
            if one.size != tuple(scale * side for side in other.size):
                sys.exit(
                    f'error: {photograph} has the size {one.size}, and {copy} {other.size}: expected {scale} times as '
                    'many pixels on each side'
                )


def write_lists(made, out):
    """Writes ``LISTS``: file name and shape of each sub-image to train and to test on."""
    names = [path.name for path in files_in(out, 'DIV2K_train_HR_sub/*.png')]
    train = [name for name in names if name[:4] <= LAST_TO_TRAIN]
    for file, listed in zip(LISTS, (train, [name for name in names if name not in set(train)])):
        made.write(file, ''.join(f'{name} ({SIZE}, {SIZE}, 3)\n' for name in listed))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('source', metavar='DIV2K', help='folder with DIV2K_train_HR and DIV2K_train_LR_bicubic')
    parser.add_argument('out', metavar='OUT', nargs='?', default='data/DIV2K', help='default: data/DIV2K')
    parser.add_argument('--scales', type=int, nargs='+', choices=(2, 3, 4), default=(2, 3, 4), help='which of them')
    args = parser.parse_args()
    source, out = Path(args.source), Path(args.out)
    made = MadeFiles(out, 'prepare_div2k')
    try:
        made.refuse_changed(LISTS)
    except OSError as error:
        sys.exit(f'error: {error}')
    large = images_of(source, 'HR', '{}.png')
    small = {scale: images_of(source, f'LR_bicubic/X{scale}', '{}.png') for scale in args.scales}
    for scale, images in small.items():
        if images.keys() != large.keys():
            absent = sorted(large.keys() ^ images.keys())
            sys.exit(f'error: {len(absent)} images have no partner of scale {scale} or size 1, such as {absent[0]}')
        refuse_other_sizes(large, images, scale)
    prepare(large, out / 'DIV2K_train_HR_sub', size=SIZE, overlap=OVERLAP)
    for scale, images in small.items():
        folder = out / 'DIV2K_train_LR_bicubic' / f'X{scale}_sub'
        prepare(images, folder, size=SIZE // scale, overlap=OVERLAP // scale)
    write_lists(made, out)


if __name__ == '__main__':
    main()

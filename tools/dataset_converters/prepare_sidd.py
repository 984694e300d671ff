"""Brings SIDD to the layout of mmagic's configs: train in crops of 512 pixels that overlap by 128, and the blocks to
validate on out of their .mat files.
"""

import argparse
import sys
import zlib
from pathlib import Path

import cv2
from crop_tool import files_in, prepare, refuse_own_source  # puts the checkout on sys.path
from scipy.io import loadmat
from scipy.io.matlab import MatReadError

from mmsampriors.files import write_whole
from mmsampriors.progress import progress_bar

SIZE, OVERLAP = 512, 128
BLOCKS = dict(noisy=('ValidationNoisyBlocksSrgb', 'NOISY'), gt=('ValidationGtBlocksSrgb', 'GT'))


def pairs_of(folder):
    """Name to noisy and clean file: ``ID_NOISY_SRGB_010.PNG`` and ``ID_GT_SRGB_010.PNG`` make ``ID_SRGB_010``."""
    noisy = files_in(folder, '**/*_NOISY_*.PNG')
    clean = {path: path.with_name(path.name.replace('_NOISY_', '_GT_')) for path in noisy}
    missing = [path for path in clean.values() if not path.exists()]
    if missing:
        sys.exit(f'error: {len(missing)} clean images are absent, such as {missing[0]}')
    return {
        path.stem.replace('_NOISY_', '_'): {'noisy/{}_NOISY.png': path, 'gt/{}_GT.png': clean[path]} for path in noisy
    }


def export_blocks(folder, out):
    """Writes the blocks of the two .mat files, ``val_NUMBER_NOISY.png`` and ``val_NUMBER_GT.png``."""
    for kind, (variable, suffix) in BLOCKS.items():
        file = files_in(folder, f'{variable}.mat')[0]
        try:
            blocks = loadmat(file)[variable]
        except (KeyError, ValueError, TypeError, OSError, MatReadError, zlib.error) as error:
            sys.exit(f'error: {file} cannot be read ({error}): get it again')
        blocks = blocks.reshape(-1, *blocks.shape[-3:])
        for number, block in enumerate(progress_bar(blocks, desc=kind, unit='block')):
            content = cv2.imencode('.png', block[..., ::-1])[1].tobytes()
            write_whole(str(Path(out) / kind / f'val_{number}_{suffix}.png'), content)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        '--train', metavar='FOLDER', help='SIDD-Medium sRGB: ID_NOISY_SRGB_010.PNG and so on, in subfolders'
    )
    parser.add_argument(
        '--val', metavar='FOLDER', help='holds ' + ' and '.join(f'{name}.mat' for name, _ in BLOCKS.values())
    )
    parser.add_argument('--out', default='data/SIDD', help='default: data/SIDD')
    args = parser.parse_args()
    if not args.train and not args.val:
        parser.error('name --train, --val, or both')
    if args.train:
        refuse_own_source(args.train, args.out)
        prepare(pairs_of(Path(args.train)), Path(args.out) / 'train', size=SIZE, overlap=OVERLAP)
    if args.val:
        export_blocks(args.val, Path(args.out) / 'val')


if __name__ == '__main__':
    main()

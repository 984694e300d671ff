"""Measures CBM3D on pairs with Gaussian noise, to compare a student of the package with.

    python tools/dataset_converters/make_noise.py KODAK24 PAIRS --sigma 25
    python .dev_scripts/benchmarks/cbm3d.py PAIRS 25
    python tools/restore.py PAIRS/input --student noise --gt PAIRS/target --out RESTORED

Runs in an environment of its own, of Python 3.11 with ``pip install bm3d==4.0.3 pillow`` (bm3d is for non-commercial
use). CBM3D is told sigma. Its results, rounded to 8 bits, are kept in PAIRS/cbm3d: a stopped run goes on.
"""

import argparse
from pathlib import Path

import numpy as np
from bm3d import bm3d_rgb
from PIL import Image


def read(path):
    return np.asarray(Image.open(path)).astype(float)


def psnr(image, truth):
    return -10 * np.log10(np.mean((image - truth) ** 2) / 255**2)


def denoise(noisy: Path, sigma: float, kept: Path):
    """Denoises a file, or reads what an earlier run has kept."""
    if not kept.is_file():
        clean = bm3d_rgb(read(noisy) / 255, sigma / 255)
        part = kept.with_suffix('.part')
        Image.fromarray((clean * 255).round().clip(0, 255).astype(np.uint8)).save(part, 'png')
        part.replace(kept)
    return read(kept)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('pairs', type=Path, help='folder with input/ and target/')
    parser.add_argument('sigma', type=float, help='of its noise, in 0 to 255')
    args = parser.parse_args()
    (args.pairs / 'cbm3d').mkdir(exist_ok=True)
    rows = []
    for noisy in sorted((args.pairs / 'input').glob('*.png')):
        truth = read(args.pairs / 'target' / noisy.name)
        clean = denoise(noisy, args.sigma, args.pairs / 'cbm3d' / noisy.name)
        rows.append((psnr(read(noisy), truth), psnr(clean, truth)))
        print(f'{noisy.name}: {rows[-1][0]:.2f} dB before, {rows[-1][1]:.2f} after', flush=True)
    before, after = np.mean(rows, axis=0)
    print(f'CBM3D, sigma {args.sigma:g}, {len(rows)} photographs: {before:.2f} dB before, {after:.2f} after')


if __name__ == '__main__':
    main()

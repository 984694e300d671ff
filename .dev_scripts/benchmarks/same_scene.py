"""What the check of pairs (``mmsampriors/checks/same_scene.py``) sees of right and wrong pairs: one row a degradation.

A row holds the lowest and the middle correlation of a degraded photograph with its ground truth, the most that a
rotation or flip adds to a right pair, the least that it adds to a pair whose ground truth is turned over, the lowest
PSNR in dB, and how many pairs the check refuses.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import mmsampriors  # noqa: F401  (before mmagic, which it mends)

# isort: split
import cv2  # noqa: E402
import numpy as np  # noqa: E402

from mmsampriors.checks.same_scene import TURNS, correlation, mismatch, psnr, small  # noqa: E402
from mmsampriors.data_preparation.degradations import add_blur, add_noise, add_rain  # noqa: E402


def darkened(image, rng, gamma, sigma):
    """As taken in too little light: gamma, then noise."""
    return add_noise(image**gamma, rng, sigma=sigma)


DEGRADATIONS = {
    'rain, defaults': (add_rain, {}),
    'rain, density 0.5': (add_rain, dict(density=0.5, brightness=0.8, veiling=0.2)),
    'rain, density 1, opaque': (add_rain, dict(density=1.0, brightness=1.0, veiling=0.5, length=(40, 80), width=4)),
    'rain, all settings at their limits': (
        add_rain,
        dict(density=2.0, brightness=1.0, veiling=1.0, length=500, width=50),
    ),
    'noise, sigma 75': (add_noise, dict(sigma=75)),
    'noise, sigma 200': (add_noise, dict(sigma=200)),
    'blur, 60 pixels': (add_blur, dict(length=60)),
    'blur, 100 pixels': (add_blur, dict(length=100)),
    'dark, gamma 4, sigma 25': (darkened, dict(gamma=4, sigma=25)),
}


def row_of(photographs, degrade, settings) -> list:
    """The numbers of a row; see above."""
    rng = np.random.default_rng(0)
    rows, refused = [], 0
    for target in photographs:
        image = (degrade(target / np.float32(255), rng, **settings) * 255).round().astype(np.uint8)
        shrunk, wanted = small(image), small(target)
        found = correlation(shrunk, wanted)
        others = [correlation(turn(shrunk), wanted) for turn in list(TURNS.values())[:3]]
        turned_over = correlation(shrunk, wanted[::-1, ::-1])
        rows.append((found, max(others) - found, found - turned_over, psnr(image, target)))
        refused += mismatch(image, target) is not None
    rows = np.array(rows)
    return [rows[:, 0].min(), np.median(rows[:, 0]), rows[:, 1].max(), rows[:, 2].min(), rows[:, 3].min(), refused]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('photographs', nargs='+', type=Path, help='image files')
    photographs = [cv2.imread(str(path)) for path in parser.parse_args().photographs]
    print(f'{len(photographs)} photographs\n')
    print('| degradation | correlation, lowest | middle | turning adds | turning back adds | PSNR, lowest | refused |')
    print('| --- | --- | --- | --- | --- | --- | --- |')
    for name, (degrade, settings) in DEGRADATIONS.items():
        lowest, middle, adds, adds_back, decibels, refused = row_of(photographs, degrade, settings)
        print(f'| {name} | {lowest:.2f} | {middle:.2f} | {adds:+.2f} | {adds_back:+.2f} | {decibels:.1f} | {refused} |')
    smalls = list(map(small, photographs))
    others = [correlation(one, other) for one in smalls for other in smalls if one is not other]
    refused = sum(mismatch(one, other) is not None for one, other in zip(smalls, smalls[1:]))
    print(f'\nOf two different photographs: middle {np.median(others):.2f}, highest {max(others):.2f}; ', end='')
    print(f'{refused} of {len(smalls) - 1} such pairs are refused.')


if __name__ == '__main__':
    main()

"""Measures how far restorations move the large shapes of photographs: where the bound ``MOST_MOVED`` comes from.

    python .dev_scripts/benchmarks/block_moves.py KODAK24 --real CC15/noisy

The students of the package restore photographs with what they take away, photographs as they are, and, with ``--real``,
photographs with the noise of cameras. These restorations are right. Wrong ones come from the same students: their
weights are damaged more and more, until what they make is more than 3 dB worse than what they got. Needs onnxruntime.
"""

import argparse
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / '.dev_scripts')]

import numpy as np
from safetensors.numpy import load_file, save_file

from mmsampriors.data_preparation.degradations import ROBUSTNESS
from mmsampriors.images import COLLAPSE, enlarged, images_in, psnr, read_rgb
from mmsampriors.inference.measures import MOST_MOVED, largest_move
from mmsampriors.inference.networks import OnnxNetwork
from mmsampriors.inference.restorer import Restorer
from mmsampriors.inference.students import graph_of_packaged, packaged_students, weights_of_packaged
from student_training.subjects import SUBJECTS

DAMAGES = (0.1, 0.2, 0.4, 0.8)  # standard deviation of what weights are multiplied by


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('photographs', type=Path, help='a folder of good ones that no student was trained on')
    parser.add_argument('--real', type=Path, help='a folder of real noisy ones')
    parser.add_argument('--students', nargs='+', default=packaged_students(), help='some of the package')
    parser.add_argument('--size', type=int, help='take a square of so many pixels from the middle of each')
    return parser.parse_args()


def read(folder, size):
    photographs = [read_rgb(path) for path in images_in(folder)]
    if size:
        corners = [[max(0, side - size) // 2 for side in one.shape[:2]] for one in photographs]
        photographs = [one[y : y + size, x : x + size] for one, (y, x) in zip(photographs, corners)]
    return photographs


def degraded(photographs, degrade, settings):
    """Degraded photographs, 8 bits."""
    made = []
    for seed, one in enumerate(photographs):
        image = degrade(one.astype(np.float32) / 255, np.random.default_rng(seed), **vars(settings))
        made.append(np.rint(255 * image).astype(np.uint8))
    return made


def with_damage(name, damage, folder):
    """A student whose weights were multiplied by random numbers around 1."""
    rng, path = np.random.default_rng(0), Path(folder) / f'{name}.safetensors'
    weights = load_file(weights_of_packaged(name))
    factors = {key: rng.normal(1, damage, weight.shape).astype(weight.dtype) for key, weight in weights.items()}
    save_file({key: weight * factors[key] for key, weight in weights.items()}, path)
    restorer = Restorer(name)
    restorer.network = OnnxNetwork(graph_of_packaged(name), weights=path)
    return restorer


def report(title, moves):
    if moves:
        low, middle, high = (np.quantile(moves, share) for share in (0, 0.5, 1))
        above = np.mean(np.array(moves) > MOST_MOVED)
        moved = f'moved by {low:.3f} to {high:.3f}, median {middle:.3f}; {above:.0%} above the bound'
        print(f'{title} ({len(moves)}): {moved}', flush=True)


def main():
    args = parse_args()
    clean = read(args.photographs, args.size)
    real = read(args.real, args.size) if args.real else []
    for name in args.students:
        restorer, subject = Restorer(name), SUBJECTS[name]
        own = degraded(clean, subject.degrade, subject.settings)
        cases = dict(degraded=own, undamaged=clean, real=real if name in ('noise', 'camera') else [])
        if name == 'rain':
            cases['heavier than it was trained on'] = degraded(clean, *ROBUSTNESS['derain']['rain_heavy'])
        for case, photographs in cases.items():
            report(f'{name}, right, {case}', [largest_move(one, restorer.restore(one))[0] for one in photographs])
        for damage in DAMAGES:
            with tempfile.TemporaryDirectory() as folder:
                restorer, moves = with_damage(name, damage, folder), []
                for one, truth in zip(own, clean):
                    restored = restorer.restore(one)
                    truth = truth[: restored.shape[0], : restored.shape[1]]
                    given = enlarged(one, restorer.network.scale)
                    if psnr(restored, truth) < psnr(given, truth) - COLLAPSE:
                        moves.append(largest_move(one, restored)[0])
            report(f'{name}, wrong, weights damaged by {damage:g}', moves)


if __name__ == '__main__':
    main()

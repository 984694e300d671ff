"""Trains a student of the package with SPD, writes it into the package, and measures it.

    python .dev_scripts/train_student.py rain --kodak KODAK24
    python .dev_scripts/train_student.py noise --kodak KODAK24
    python .dev_scripts/train_student.py blur --kodak KODAK24

Each photograph of scikit-image is degraded ``--versions`` times. The student learns alone first, then the refiner over
it, then the student under the refiner. The test photographs are seen in no training. A stopped run goes on when it is
started again.
"""

import argparse
import os
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

import mmsampriors  # noqa: F401  (before mmagic, which it mends)

# isort: split
import numpy as np  # noqa: E402
import skimage.data  # noqa: E402
import torch  # noqa: E402
from mmengine.registry import init_default_scope  # noqa: E402
from mmengine.runner import Runner  # noqa: E402
from PIL import Image  # noqa: E402
from student_training.config import config_of, config_to_ship  # noqa: E402
from student_training.subjects import SUBJECTS, TEST, TRAIN, Subject  # noqa: E402

from mmsampriors import Restorer  # noqa: E402
from mmsampriors.checkpoints import read_weights  # noqa: E402
from mmsampriors.data_preparation.pairs import make_pairs  # noqa: E402
from mmsampriors.engine.export import write_student  # noqa: E402
from mmsampriors.engine.optim.cpu_memory import keep_freed_memory  # noqa: E402
from mmsampriors.restoring.students import weights_of_packaged  # noqa: E402

SIDE = 360  # of the photographs that are trained on, the longer one, in pixels


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('name', choices=sorted(SUBJECTS), help='what the student takes away')
    parser.add_argument('--out', type=Path, help='folder of data and training (work_dirs/students/NAME)')
    parser.add_argument('--versions', type=int, default=12, help='how often a photograph is degraded (%(default)s)')
    parser.add_argument(
        '--updates',
        type=int,
        nargs=3,
        default=(4000, 500, 700),
        metavar=('ALONE', 'REFINER', 'UNDER'),
        help='of the student alone, of the refiner, of the student under it (4000 500 700)',
    )
    parser.add_argument('--kodak', type=Path, help='folder of the 24 Kodak photographs, to measure on them too')
    parser.add_argument('--export', type=Path, help='file to write instead of the one in the package, *.safetensors')
    return parser.parse_args()


def make_data(subject: Subject, versions: int, out: Path):
    """Writes photographs and pairs below ``out``; what is there is kept."""
    for split, names in dict(train=TRAIN, test=TEST).items():
        folder = out / 'photographs' / split
        folder.mkdir(parents=True, exist_ok=True)
        for name in names:
            with Image.open(Path(skimage.data.__file__).parent / name) as image:
                photograph = image.convert('RGB')
            if split == 'train':
                photograph.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
            photograph.save(folder / f'{Path(name).stem}.png', icc_profile=None)
    for version in range(versions):
        pairs = out / 'data' / 'train' / str(version)
        make_pairs(out / 'photographs' / 'train', pairs, subject.degrade, subject.settings, seed=version)
    make_pairs(out / 'photographs' / 'test', out / 'data' / 'test', subject.degrade, subject.settings)


def train(cfg):
    """Trains and gives the last checkpoint."""
    torch.set_num_threads(int(os.environ.get('OMP_NUM_THREADS', 1)))
    keep_freed_memory()
    init_default_scope(cfg.default_scope)
    Runner.from_cfg(cfg).train()
    return Path(cfg.work_dir, 'last_checkpoint').read_text().strip()


def psnr(image, truth):
    return -10 * np.log10(np.mean((image.astype(float) - truth) ** 2) / 255**2)


def measure(restorer: Restorer, pairs: Path):
    """PSNR of input and result, in dB on RGB, means over the pairs of a folder."""
    rows = []
    for path in sorted((pairs / 'input').glob('*.png')):
        degraded, truth = (np.asarray(Image.open(pairs / kind / path.name)) for kind in ('input', 'target'))
        rows.append((psnr(degraded, truth), psnr(restorer.restore(degraded), truth)))
    return len(rows), *np.mean(rows, axis=0)


def main():
    args = parse_args()
    subject, out = SUBJECTS[args.name], args.out or ROOT / 'work_dirs' / 'students' / args.name
    make_data(subject, args.versions, out)
    cfg = config_of(args.name, subject.patch, args.versions, tuple(args.updates), out)
    weights = read_weights(train(cfg))
    target = args.export or weights_of_packaged(args.name)
    write_student(weights, config_to_ship(cfg, args.name), str(target))
    tests = dict(scikit=out / 'data' / 'test')
    if args.kodak:
        tests['kodak'] = out / 'data' / 'kodak'
        make_pairs(args.kodak, tests['kodak'], subject.degrade, subject.settings)
    restorer = Restorer(target)
    for name, pairs in tests.items():
        count, before, after = measure(restorer, pairs)
        print(f'{args.name} on {name}, {count} photographs: {before:.2f} dB before, {after:.2f} dB after', flush=True)


if __name__ == '__main__':
    main()

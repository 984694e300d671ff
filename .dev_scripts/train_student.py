"""Trains a student of the package and measures it: prints the rows of its card.

    python .dev_scripts/train_student.py noise --kodak KODAK24
    python .dev_scripts/train_student.py camera --kodak KODAK24
    python .dev_scripts/train_student.py rain --kodak KODAK24
    python .dev_scripts/train_student.py blur --kodak KODAK24
    python .dev_scripts/train_student.py x4 --kodak KODAK24
    python .dev_scripts/train_student.py x2 --kodak KODAK24

All are trained plainly, on patches of scikit-image's photographs and of Debian's wallpapers (``--photographs``: yours
instead). ``rain`` then goes on with SPD, beside photographs of heavier rain without their ground truth. The test
photographs are seen in no training. A stopped run goes on when it is started again.
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
import torch  # noqa: E402
from mmagic.evaluation.metrics import psnr  # noqa: E402
from mmagic.registry import MODELS  # noqa: E402
from PIL import Image  # noqa: E402

from mmsampriors import Restorer  # noqa: E402
from mmsampriors.checkpoints import read_weights  # noqa: E402
from mmsampriors.data_preparation.pairs import make_pairs  # noqa: E402
from mmsampriors.engine.export import write_student  # noqa: E402
from mmsampriors.engine.optim import keep_freed_memory  # noqa: E402
from mmsampriors.experiments import Processes  # noqa: E402
from mmsampriors.images import enlarged, images_in  # noqa: E402
from mmsampriors.inference.students import weights_of_packaged  # noqa: E402
from student_training.config import config_to_ship, plain_config, unlabeled_config  # noqa: E402
from student_training.photographs import (  # noqa: E402
    TEST,
    fetch_photographs,
    from_scikit_image,
    halved,
    small_copies,
)
from student_training.plain import BATCH, Machine, Patches, train  # noqa: E402
from student_training.subjects import SUBJECTS, Subject  # noqa: E402

COPIES = 4  # of a photograph, each degraded otherwise, for a training with SPD
EQUAL = 100.0  # dB


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        'name', choices=sorted(SUBJECTS), help='what the student takes away, or by how much it enlarges'
    )
    parser.add_argument('--out', type=Path, help='folder of data, training and student (work_dirs/students/NAME)')
    parser.add_argument('--photographs', type=Path, help='folder to train on, plainly')
    parser.add_argument('--updates', type=int, nargs='+', help="others than the recipe's; one: plainly alone")
    parser.add_argument('--kodak', type=Path, help='folder of the 24 Kodak photographs, to measure on them too')
    parser.add_argument('--device', default='cpu', help='to train on, plainly')
    parser.add_argument('--workers', type=int, default=0, help='processes that draw patches, plainly')
    parser.add_argument('--batch', type=int, default=BATCH, help='patches an update, plainly (%(default)s)')
    args = parser.parse_args()
    wanted = len(SUBJECTS[args.name].updates)
    if args.updates and len(args.updates) not in (1, wanted):
        parser.error(f'--updates needs 1{" or 3 numbers" if wanted == 3 else " number"}, found {len(args.updates)}')
    return args


def train_plainly(name: str, subject: Subject, updates: int, paths, out: Path, machine: Machine):
    """Trains without SPD; gives the weights."""
    patches = Patches([image for path in paths for image in halved(path)], subject)
    torch.manual_seed(0)
    net = MODELS.build(plain_config(name).model.generator)
    if subject.start:
        weights = read_weights(weights_of_packaged(subject.start))
        # x4 has one enlargement more than x2.
        net.load_state_dict({key: weights[f'generator.{key}'] for key in net.state_dict()})
    train(net, patches, updates, out / 'training', machine)
    return {f'generator.{key}': value.cpu() for key, value in net.state_dict().items()}


def train_with_spd(name: str, subject: Subject, updates, plain: Path, paths, out: Path):
    """Goes on from the plain student, beside photographs without ground truth; gives the weights."""
    data = out / 'data'
    parts = dict(pairs=(paths[::2], subject.settings), unlabeled=(paths[1::2], subject.unlabeled))
    for part, (photographs, settings) in parts.items():
        make_pairs(small_copies(photographs, data / 'clean' / part, COPIES), data / part, subject.degrade, settings)
    make_pairs(test_photographs(out), data / 'test', subject.degrade, subject.settings)
    # The ground truth beside the unlabeled ones is read by nothing.
    folders = data / 'pairs', data / 'unlabeled' / 'input'
    cfg = unlabeled_config(plain_config(name), plain, *folders, tuple(updates), cascade=2, end_weight=1.0)
    cfg.val_dataloader.dataset.data_root = cfg.test_dataloader.dataset.data_root = str(data / 'test')
    cfg.work_dir, cfg.launcher, cfg.experiment_name = str(out / 'spd'), 'none', f'student_{name}'
    cfg.default_hooks.checkpoint.interval = 500
    cfg.resume = (out / 'spd' / 'last_checkpoint').is_file()
    cfg.dump(out / 'spd.py')
    Processes(1, ROOT, threads=torch.get_num_threads()).run(['tools/train.py', out / 'spd.py'], out / 'spd.log')
    return read_weights(Path(cfg.work_dir, 'last_checkpoint').read_text().strip())


def test_photographs(out: Path) -> Path:
    """Writes those of scikit-image to measure on as PNG."""
    folder = out / 'photographs_test'
    folder.mkdir(parents=True, exist_ok=True)
    for path in from_scikit_image(TEST):
        with Image.open(path) as image:
            image.convert('RGB').save(folder / f'{path.stem}.png', icc_profile=None)
    return folder


def measure(restorer: Restorer, pairs: Path):
    """PSNR of input and result in dB, (photographs, 2); equal images count as ``EQUAL``.

    On RGB; at a scale above 1 on Y, without a border as wide as the scale, and the input is enlarged by bicubic
    interpolation.
    """
    scale = restorer.network.scale
    protocol = dict(crop_border=scale, convert_to='Y', channel_order='rgb') if scale > 1 else {}
    rows = []
    for path in sorted((pairs / 'input').glob('*.png')):
        degraded, truth = (np.asarray(Image.open(pairs / kind / path.name)) for kind in ('input', 'target'))
        images = enlarged(degraded, scale), restorer.restore(degraded)
        rows.append([min(psnr(image, truth, **protocol), EQUAL) for image in images])
    return np.array(rows)


def print_card(name: str, subject: Subject, student: Path, kodak, out: Path):
    restorer = Restorer(student)
    sources = dict(scikit=test_photographs(out))
    if kodak:
        sources['kodak'] = kodak
    for source, folder in sources.items():
        for row, settings in subject.tests.items():
            pairs = out / 'tests' / source / row.replace(' ', '_')
            make_pairs(folder, pairs, subject.degrade, settings)
            rows = measure(restorer, pairs)
            before, after = rows.mean(axis=0)
            print(
                f'{name}, {row}, {source} ({len(rows)}): {before:.2f} dB before, {after:.2f} after, '
                f'the least gain {np.diff(rows).min():+.2f}',
                flush=True,
            )


def finish(name: str, subject: Subject, weights, kodak, out: Path, file: str):
    """Writes a student and measures it."""
    student = out / f'{file}.safetensors'
    write_student(weights, config_to_ship(plain_config(name), name), str(student), tool='train_student')
    print_card(file, subject, student, kodak, out)


def main():
    args = parse_args()
    torch.set_num_threads(int(os.environ.get('OMP_NUM_THREADS', 1)))
    keep_freed_memory()
    subject, out = SUBJECTS[args.name], args.out or ROOT / 'work_dirs' / 'students' / args.name
    plain, *spd = args.updates or subject.updates
    paths = images_in(args.photographs) if args.photographs else fetch_photographs(out.parent / 'photographs')
    weights = train_plainly(args.name, subject, plain, paths, out, Machine(args.device, args.workers, args.batch))
    finish(args.name, subject, weights, args.kodak, out, 'plain' if spd else args.name)
    if spd:
        weights = train_with_spd(args.name, subject, spd, out / 'plain.safetensors', paths, out)
        finish(args.name, subject, weights, args.kodak, out, args.name)


if __name__ == '__main__':
    main()

"""Does the student ``camera`` learn from photographs of real noise that have no ground truth? Asks does_it_help.py.

    python .dev_scripts/unlabeled_camera.py CC15 --out DIR --iters 900

The pairs have synthetic noise of cameras: those of the photographs that ``camera`` was trained on, or of your own
(``--photographs``). CC15 holds ``noisy`` and ``mean``, real ones. Every second of them, by name, gives its noisy half
without ground truth; the others are the test set ``real``. The test set ``synthetic`` is scikit-image's chelsea and
coffee. Three seeds, all from the weights of ``camera``, at half of their learning rate. The same command goes on.
"""

import argparse
import os
import shutil
import sys
from copy import deepcopy
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import mmsampriors  # noqa: F401  (before mmagic, which it mends)

# isort: split
from mmengine.config import Config

from mmsampriors.data_preparation.degradations import CameraSettings, add_camera_noise
from mmsampriors.data_preparation.pairs import make_pairs
from mmsampriors.images import images_in
from mmsampriors.inference.students import weights_of_packaged
from student_training.config import plain_config, unlabeled_config
from student_training.photographs import TEST, fetch_photographs, from_scikit_image, small_copies


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('real', type=Path, help='folder with noisy/ and mean/')
    parser.add_argument('--out', type=Path, required=True, help='folder of everything')
    parser.add_argument('--photographs', type=Path, help='folder to make pairs from')
    parser.add_argument('--iters', type=int, default=900, help='of each training, a third of them for the refiner')
    return parser.parse_args()


def split(real: Path, out: Path):
    """Every second noisy photograph without its ground truth, the others with it."""
    for index, noisy in enumerate(images_in(real / 'noisy')):
        copies = {out / 'real' / 'input': noisy, out / 'real' / 'target': real / 'mean' / noisy.name}
        for folder, path in copies.items() if index % 2 else [(out / 'unlabeled', noisy)]:
            folder.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, folder / noisy.name)


def config_of(out: Path, iters: int) -> Config:
    """The config of ``camera``, going on from its weights with a refiner of its own kind."""
    weights, updates = weights_of_packaged('camera'), (iters // 3, iters - iters // 3)
    folders = out / 'pairs', out / 'unlabeled'
    cfg = unlabeled_config(plain_config('camera'), weights, *folders, updates, cascade=1, end_weight=0.5)
    sets, evaluators = [], []
    for name in ('real', 'synthetic'):
        loader = deepcopy(cfg.val_dataloader)
        loader.dataset.data_root = str(out / name)
        sets.append(loader)
        evaluators.append([dict(type='PSNR', prefix=name), dict(type='mmsampriors.CollapseRate', prefix=name)])
    cfg.test_dataloader, cfg.test_evaluator = sets, evaluators
    cfg.val_dataloader, cfg.val_evaluator = sets[1], [dict(type='PSNR')]
    return cfg


def main():
    args = parse_args()
    out = args.out.resolve()
    paths = images_in(args.photographs) if args.photographs else fetch_photographs(out / 'photographs')
    make_pairs(small_copies(paths, out / 'clean'), out / 'pairs', add_camera_noise, CameraSettings())
    tests = small_copies(from_scikit_image(TEST), out / 'clean_test')
    make_pairs(tests, out / 'synthetic', add_camera_noise, CameraSettings(iso=1600))
    split(args.real, out)
    config_of(out, args.iters).dump(out / 'camera.py')
    tool = ROOT / 'tools' / 'analysis_tools' / 'does_it_help.py'
    os.execv(sys.executable, [sys.executable, str(tool), str(out / 'camera.py'), '--work-dir', str(out / 'trials')])


if __name__ == '__main__':
    main()

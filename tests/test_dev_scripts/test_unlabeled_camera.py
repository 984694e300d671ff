"""The data and the config that unlabeled_camera.py gives does_it_help.py."""

import sys
from pathlib import Path

import numpy as np
from mmengine.config import Config
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[2] / '.dev_scripts'))

from unlabeled_camera import config_of, split  # noqa: E402

from mmsampriors.data_preparation.degradations import CameraSettings, add_camera_noise  # noqa: E402
from mmsampriors.data_preparation.pairs import make_pairs  # noqa: E402
from mmsampriors.engine.rehearsal import problems_of  # noqa: E402
from mmsampriors.reports import sets_of  # noqa: E402
from student_training.photographs import small_copies  # noqa: E402


def test_half_of_the_real_photographs_are_learnt_from_and_half_tested_on(tmp_path):
    random = np.random.default_rng(0)
    for folder in ('noisy', 'mean', 'photographs/package'):
        (tmp_path / folder).mkdir(parents=True)
        for name in ('a.png', 'b.png', 'c.png'):
            Image.fromarray(random.integers(0, 256, (140, 160, 3), np.uint8)).save(tmp_path / folder / name)
    out = tmp_path / 'out'
    split(tmp_path, out)
    assert [path.name for path in sorted((out / 'unlabeled').iterdir())] == ['a.png', 'c.png']
    for kind in ('input', 'target'):
        assert [path.name for path in (out / 'real' / kind).iterdir()] == ['b.png']
    clean = small_copies(sorted((tmp_path / 'photographs/package').iterdir()), out / 'clean')
    assert Image.open(clean / '00_a_0.png').size == (80, 70)
    for name in ('pairs', 'synthetic'):
        make_pairs(clean, out / name, add_camera_noise, CameraSettings())
    config_of(out, 6).dump(out / 'camera.py')
    cfg = Config.fromfile(out / 'camera.py')
    cfg.work_dir = str(out / 'trials')
    assert problems_of(cfg) == [] and [one.name for one in sets_of(cfg)] == ['real', 'synthetic']

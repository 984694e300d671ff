"""tools/analysis_tools/does_it_help.py as a process, on the quickstart's data, at a size that means nothing."""

import re
from pathlib import Path

import pytest
import skimage.data
from PIL import Image
from tool_processes import run_as_process

from mmsampriors.data_preparation.degradations import LowresSettings, make_lowres
from mmsampriors.data_preparation.pairs import make_pairs
from mmsampriors.quickstart.results import make_data

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def folder(tmp_path):
    """Where the quickstart's data is, and a config of a user whose network is smaller."""
    make_data(str(tmp_path / 'work_dirs' / 'quickstart'), rains=8)
    (tmp_path / 'mine.py').write_text(f"""
_base_ = {str(ROOT / 'configs' / 'spd' / 'quickstart.py')!r}
model = dict(generator=dict(width=4))
""")
    return tmp_path


def call(folder, *arguments, fails=False):
    done = run_as_process(
        ['tools/analysis_tools/does_it_help.py', *arguments], cwd=folder, env=dict(PYTHONWARNINGS='ignore')
    )
    assert bool(done.returncode) is fails, done.stdout[-2000:] + done.stderr[-3000:]
    return done.stdout + done.stderr


@pytest.mark.slow
def test_it_says_whether_it_helps_and_goes_on_where_it_was(folder):
    unlabeled = ['--unlabeled', 'work_dirs/quickstart/data/train/rain_7/input']
    command = ['mine.py', '--seeds', 1, '--iters', 8, '--jobs', 2, '--work-dir', 'out', *unlabeled]
    assert 'that is more than --hours' in call(folder, *command, '--hours', 1e-9, fails=True)
    said = call(folder, *command)
    assert re.search(r'SPD \w+ \d+\.\d\d dB .*than plain training|dB from plain training on', said), said[-2000:]
    assert 'times plain training.' in said
    (folder / 'out' / 'summary.md').unlink()
    checkpoints = {path: path.stat().st_mtime_ns for path in (folder / 'out').rglob('iter_8.pth')}
    assert len(checkpoints) == 3
    assert 'times plain training.' in call(folder, *command)
    assert {path: path.stat().st_mtime_ns for path in checkpoints} == checkpoints, 'nothing is trained again'


@pytest.mark.slow
def test_it_compares_networks_that_enlarge(tmp_path):
    (tmp_path / 'photographs').mkdir()
    for name in ('chelsea', 'coffee'):
        image = getattr(skimage.data, name)()[100:197, 150:279]
        Image.fromarray(image).save(tmp_path / 'photographs' / f'{name}.png')
    for split in ('train', 'val'):
        folder = tmp_path / 'data' / 'tiny' / 'sr_x2' / split
        make_pairs(tmp_path / 'photographs', folder, make_lowres, LowresSettings(scale=2))
    (tmp_path / 'mine.py').write_text(f"""
_base_ = {str(ROOT / 'configs' / 'spd' / 'edsr_sr_x2-tiny.py')!r}
model = dict(generator=dict(mid_channels=8, num_blocks=1))
""")
    said = call(tmp_path, 'mine.py', '--seeds', 1, '--iters', 8, '--jobs', 2, '--work-dir', 'out')
    assert 'times plain training.' in said, said[-2000:]
    assert len(list((tmp_path / 'out').rglob('iter_8.pth'))) == 3

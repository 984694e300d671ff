import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

CONVERTERS = Path(__file__).parents[2] / 'tools/dataset_converters'


def command(maker, *arguments):
    return [sys.executable, str(CONVERTERS / f'make_{maker}.py'), *map(str, arguments)]


def run(maker, *arguments):
    return subprocess.run(command(maker, *arguments), capture_output=True, text=True, timeout=120)


def save_photographs(folder, count, size):
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in range(count):
        coarse = rng.integers(256, size=(6, 8, 3), dtype=np.uint8)
        smooth = cv2.resize(coarse, size[::-1], interpolation=cv2.INTER_CUBIC)
        cv2.imwrite(str(folder / f'{number:03}.png'), smooth)


@pytest.fixture
def photographs(tmp_path):
    save_photographs(tmp_path / 'photographs', count=3, size=(72, 96))
    return tmp_path / 'photographs'


def contents(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob('*.png'))}


@pytest.mark.parametrize(
    'maker, options',
    [
        ('rain', ['--angle', -20, 20, '--density', 0.2]),
        ('noise', ['--sigma', 0, 50, '--peak', 100]),
        ('noise', ['--camera', '--iso', 1600]),
        ('blur', ['--length', 10]),
    ],
)
def test_makes_pairs_and_says_where(photographs, tmp_path, maker, options):
    done = run(maker, photographs, tmp_path / 'out', *options, '--seed', 5)
    assert done.returncode == 0, done.stderr
    assert '3 pairs in' in done.stdout and '3 of 3 pair' in done.stderr
    for name in ('000', '001', '002'):
        photograph = cv2.imread(str(photographs / f'{name}.png')).astype(int)
        np.testing.assert_array_equal(cv2.imread(str(tmp_path / f'out/target/{name}.png')), photograph)
        degraded = cv2.imread(str(tmp_path / f'out/input/{name}.png')).astype(int)
        assert degraded.shape == photograph.shape and 0.2 < np.abs(degraded - photograph).mean() < 80


def test_small_copies_have_whole_ground_truths_and_tiny_photographs_are_named(photographs, tmp_path):
    done = run('lowres', photographs, tmp_path / 'out', '--scale', 5, '--noise', 0, 5, '--jpeg', 80)
    assert done.returncode == 0 and '3 pairs in' in done.stdout, done.stderr
    target, small = (cv2.imread(str(tmp_path / 'out' / kind / '000.png')) for kind in ('target', 'input'))
    assert target.shape == (70, 95, 3) and small.shape == (14, 19, 3)
    np.testing.assert_array_equal(target, cv2.imread(str(photographs / '000.png'))[:70, :95])
    cv2.imwrite(str(photographs / 'tiny.png'), small[:4])
    done = run('lowres', photographs, tmp_path / 'out', '--scale', 5, '--noise', 0, 5, '--jpeg', 80)
    assert done.returncode == 1 and 'tiny.png: an image of 19x4 pixels is smaller than 5 pixels' in done.stderr
    done = run('lowres', photographs, tmp_path / 'other', '--scale', 2, 4)
    assert done.returncode == 2 and 'scale takes one whole number' in done.stderr


def test_a_killed_run_goes_on_and_ends_like_one_that_was_not(tmp_path):
    save_photographs(tmp_path / 'photographs', count=30, size=(300, 400))
    arguments = (tmp_path / 'photographs', tmp_path / 'killed', '--workers', 2)
    process = subprocess.Popen(command('noise', *arguments), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    inputs = tmp_path / 'killed/input'
    while process.poll() is None and len(list(inputs.glob('*.png'))) < 3:
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    finished = {path: path.stat().st_mtime_ns for path in inputs.glob('*.png')}
    assert 3 <= len(finished) < 30, 'the run must be killed in its middle for this test to mean something'
    for path in inputs.glob('*.png'):
        assert cv2.imread(str(path)) is not None and (tmp_path / 'killed/target' / path.name).exists()

    again = run('noise', *arguments)
    assert again.returncode == 0, again.stderr
    assert {path: path.stat().st_mtime_ns for path in finished} == finished
    assert not list((tmp_path / 'killed').rglob('.*'))
    assert run('noise', tmp_path / 'photographs', tmp_path / 'straight').returncode == 0
    assert contents(tmp_path / 'killed') == contents(tmp_path / 'straight')


def test_errors_name_the_way_out_without_a_traceback(photographs, tmp_path):
    (photographs / 'broken.png').write_bytes(b'\x89PNG')
    for arguments, code, words in [
        ((tmp_path / 'nowhere', tmp_path / 'out'), 1, 'no folder of photographs at'),
        ((photographs, tmp_path / 'out', '--sigma', 300), 2, 'sigma must lie within 0 and 255'),
        ((photographs, tmp_path / 'out', '--sigma', 1, 2, 3), 2, '--sigma takes one number, or lowest and highest'),
        ((photographs, tmp_path / 'out', '--workers', 0), 2, 'must be a whole number from 1 up'),
        ((photographs, tmp_path / 'out', '--seed', '²'), 2, "must be a whole number from 0 up, found '²'"),
        ((photographs, ''), 2, 'OUT must name a folder'),
        (('s3://bucket/photographs', tmp_path / 'out'), 1, 'the address s3:/'),
        ((photographs, tmp_path / 'out'), 1, 'broken.png'),
        ((photographs, tmp_path / 'out', '--seed', 1), 1, 'seed: 0 then, 1 now'),
    ]:
        done = run('noise', *arguments)
        assert done.returncode == code and words in done.stderr, done.stderr
        assert 'Traceback' not in done.stderr
    assert len(contents(tmp_path / 'out')) == 6


def test_a_place_that_cannot_be_written_is_one_message(photographs, tmp_path):
    (tmp_path / 'file').write_text('')
    done = run('rain', photographs, tmp_path / 'file' / 'out')
    assert done.returncode == 1 and 'Traceback' not in done.stderr
    assert done.stderr.startswith('error: ') and str(tmp_path / 'file') in done.stderr


def test_a_disk_that_fills_up_is_one_message_and_the_rest_is_done_later(photographs, tmp_path):
    """A full disk is no fault of the photograph whose pair did not fit."""
    assert run('rain', photographs, tmp_path / 'out').returncode == 0
    whole = contents(tmp_path / 'out')
    # A folder in the place of a file: replacing it fails, for root too.
    (tmp_path / 'out' / 'input' / '001.png').unlink()
    (tmp_path / 'out' / 'target' / '001.png').unlink()
    (tmp_path / 'out' / 'target').rename(tmp_path / 'out' / 'elsewhere')
    (tmp_path / 'out' / 'target').write_text('')
    done = run('rain', photographs, tmp_path / 'out')
    assert done.returncode == 1 and 'Traceback' not in done.stderr and 'could not be used' not in done.stderr
    (tmp_path / 'out' / 'target').unlink()
    (tmp_path / 'out' / 'elsewhere').rename(tmp_path / 'out' / 'target')
    assert run('rain', photographs, tmp_path / 'out').returncode == 0
    assert contents(tmp_path / 'out') == whole

"""What a quickstart replaces."""

import sys
from unittest.mock import MagicMock

import pytest
from tool_processes import run_as_process

from mmsampriors.files import locked
from mmsampriors.quickstart import Plan, run

MODULE = sys.modules['mmsampriors.quickstart.run']


@pytest.fixture
def quickstart(tmp_path, monkeypatch):
    """A function that runs one which leaves a file of data, and gives what the folder of data holds."""

    def make_data(out, rains):
        (tmp_path / 'data').mkdir(exist_ok=True)
        (tmp_path / 'data' / f'{len(list((tmp_path / "data").iterdir()))}.png').write_text('rain')

    for name in ('make_processes', 'read_quickstart_config', 'compute_masks', 'train_all', 'quickstart_table'):
        monkeypatch.setattr(MODULE, name, lambda *args: MagicMock())
    monkeypatch.setattr(MODULE, 'make_data', make_data)
    metrics = dict(rain=dict(spd=dict(PSNR=30.0), input=dict(PSNR=20.0)))
    monkeypatch.setattr(MODULE, 'write_results', lambda plan: metrics)

    def call():
        run(Plan('config.py', str(tmp_path), first=1, refiner=1, then=1))
        return sorted(path.name for path in (tmp_path / 'data').iterdir())

    return call


def test_a_finished_one_is_replaced_and_an_interrupted_one_goes_on(tmp_path, quickstart, monkeypatch):
    assert quickstart() == ['0.png'] == quickstart()
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(MODULE, 'write_results', MagicMock(side_effect=KeyboardInterrupt))
        quickstart()
    assert quickstart() == ['0.png', '1.png']
    assert (tmp_path / 'metrics.json').exists() and (tmp_path / 'quickstart.log').exists()


def test_what_somebody_put_into_a_folder_of_a_finished_one_is_kept(tmp_path, quickstart):
    quickstart()
    (tmp_path / 'data' / 'mine.png').write_text('mine')
    with pytest.raises(FileExistsError, match=f'{tmp_path}/data/mine.png is not as quickstart.py wrote it'):
        quickstart()
    assert sorted(path.name for path in (tmp_path / 'data').iterdir()) == ['0.png', 'mine.png']


def test_one_at_a_time(tmp_path):
    """The tool itself."""
    with locked(tmp_path, 'a quickstart'):
        done = run_as_process(['tools/quickstart.py', '--out', tmp_path], cwd=tmp_path)
    assert done.returncode == 1 and f'error: a quickstart is going on in {tmp_path} already' in done.stderr


def test_folders_of_others_are_kept(tmp_path):
    """The tool itself: a folder that looks like a finished quickstart, and is none."""
    (tmp_path / 'photographs').mkdir()
    for name in ('photographs/mine.jpg', 'metrics.json'):
        (tmp_path / name).write_text('mine')
    done = run_as_process(['tools/quickstart.py', '--out', tmp_path], cwd=tmp_path)
    assert done.returncode == 1 and f'error: {tmp_path}/photographs would be replaced' in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ['metrics.json', 'photographs']
    assert (tmp_path / 'photographs' / 'mine.jpg').read_text() == 'mine'

"""Folders of photographs: what is found, where results go, and what is done again."""

import json

import numpy as np
import pytest
from PIL import Image

from mmsampriors.restoring import restorer as module
from mmsampriors.restoring.inputs import find_photographs
from mmsampriors.restoring.job import Job
from mmsampriors.restoring.photographs import read_photograph
from mmsampriors.restoring.restorer import Restorer


def save(path, value=100, size=(20, 30)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((*size, 3), value, np.uint8)).save(path)
    return path


@pytest.fixture
def folder(tmp_path):
    for name in ('in/a.png', 'in/sub/a.png', 'in/sub/deep/b.jpg', 'in/c.bmp', 'in/.hidden/d.png'):
        save(tmp_path / name)
    (tmp_path / 'in' / 'notes.txt').write_text('no photograph')
    return tmp_path


@pytest.fixture
def job(halving, monkeypatch):
    """A function that runs a job with a network that halves."""

    def run(inputs, out, identity='halving', **options):
        network = halving()
        network.identity = identity
        monkeypatch.setattr(module, '_network', lambda *args: network)
        return Job(Restorer('any.pth'), out, **options).run(find_photographs([str(one) for one in inputs], out))

    return run


def test_folders_keep_their_structure_and_other_formats_become_png(folder, job):
    outcome = job([folder / 'in'], folder / 'out')
    assert (outcome.restored, outcome.ready, outcome.failed) == (4, 0, [])
    written = {str(path.relative_to(folder / 'out')) for path in (folder / 'out').rglob('*') if path.is_file()}
    assert {name for name in written if not name.startswith('.')} == {
        'a.png',
        'sub/a.png',
        'sub/deep/b.jpg',
        'c.bmp.png',
    }
    assert read_photograph(folder / 'out' / 'sub' / 'a.png').pixels[0, 0].tolist() == [50, 50, 50]


def test_globs_and_files(folder):
    def names(*texts):
        return [str(one.name) for one in find_photographs([str(folder / text) for text in texts], folder / 'out')]

    assert names('in/*.png') == ['a.png']
    assert names('in/**/*.png') == ['a.png', 'sub/a.png']
    assert names('in/*/*.png') == ['sub/a.png']
    assert names('in/a.png', 'in/a.png') == ['a.png']
    with pytest.raises(FileNotFoundError, match='no file matches'):
        names('in/*.tif')
    (folder / 'empty').mkdir()
    with pytest.raises(FileNotFoundError, match='no photograph in'):
        names('empty')


def test_results_overwrite_nothing(folder):
    with pytest.raises(ValueError, match='would be overwritten by its result'):
        find_photographs([str(folder / 'in')], folder / 'in')
    with pytest.raises(ValueError, match='would both become'):
        find_photographs([str(folder / 'in'), str(save(folder / 'others' / 'a.png'))], folder / 'out')


def test_results_inside_the_folder_of_photographs_are_no_input(folder, job):
    assert job([folder / 'in'], folder / 'in' / 'out').restored == 4
    assert job([folder / 'in'], folder / 'in' / 'out').ready == 4


def test_what_is_done_is_known_by_content(folder, job):
    out = folder / 'out'
    job([folder / 'in'], out)
    assert job([folder / 'in'], out).ready == 4
    save(folder / 'in' / 'a.png', 60)  # another photograph under the old name
    (out / 'sub' / 'a.png').write_bytes(b'cut')  # a result that somebody broke
    (out / 'c.bmp.png').unlink()
    outcome = job([folder / 'in'], out)
    assert (outcome.restored, outcome.ready) == (3, 1)
    assert read_photograph(out / 'a.png').pixels[0, 0].tolist() == [30, 30, 30]
    assert job([folder / 'in'], out, identity='another network').restored == 4
    records = list((out / '.restored').rglob('*.json'))
    records[0].write_text('{"cut')
    assert job([folder / 'in'], out, identity='another network').restored == 1


def test_broken_files_are_named_and_passed_by(folder, job, capsys):
    (folder / 'in' / 'broken.png').write_bytes(b'no photograph')
    outcome = job([folder / 'in', folder / 'missing.png'], folder / 'out')
    assert outcome.restored == 4 and len(outcome.failed) == 2
    assert f'not restored: {folder}/in/broken.png: is no image that Pillow knows' in capsys.readouterr().err
    assert not (folder / 'out' / 'broken.png').exists()


def test_panels_and_refined_images(folder, job):
    def refine(photograph, path):
        return photograph.with_pixels(255 - photograph.pixels)

    outcome = job([folder / 'in'], folder / 'out', compare=True, refine=refine)
    assert outcome.restored == 4
    assert read_photograph(folder / 'out' / 'refined' / 'a.png').pixels[0, 0].tolist() == [155] * 3
    panel = read_photograph(folder / 'out' / 'compared' / 'sub' / 'deep' / 'b.jpg.jpg').pixels
    assert panel.shape[1] == 3 * 30 + 2 * 8
    for column, value in ((15, 100), (53, 50), (91, 155)):
        assert abs(int(panel[-5, column, 0]) - value) <= 3
    assert job([folder / 'in'], folder / 'out').ready == 4, 'less is asked for than was made'
    assert job([folder / 'in'], folder / 'out', compare=True).ready == 4


def test_a_record_says_what_a_result_was_made_of(folder, job):
    job([folder / 'in'], folder / 'out')
    record = json.loads((folder / 'out' / '.restored' / 'a.png.json').read_text())
    assert set(record) == {'photograph', 'results', 'made_by'} and record['made_by']['network'] == 'halving'

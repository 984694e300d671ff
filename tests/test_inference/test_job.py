"""Folders of photographs: what is found, where results go, and what is done again."""

import errno
import json
import resource
import struct

import numpy as np
import pytest
from PIL import Image

from mmsampriors.files import MadeFiles
from mmsampriors.images import LONGEST, Photograph, enlarged, read_photograph, write_photograph
from mmsampriors.inference import restorer as module
from mmsampriors.inference.inputs import find_photographs, kinds_of
from mmsampriors.inference.job import Job
from mmsampriors.inference.restorer import Restorer


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

    def run(inputs, out, identity='halving', network=None, tile='auto', overlap=32, compare=False, refine=None, **job):
        network = network or halving()
        network.identity = identity
        monkeypatch.setattr(module, '_network', lambda *args: network)
        restorer = Restorer('any.pth', tile=tile, overlap=overlap)
        kinds = kinds_of(refine is not None, compare)
        photographs = find_photographs([str(one) for one in inputs], out, kinds)
        return Job(restorer, out, compare, refine, **job).run(photographs)

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
    (folder / 'in' / 'link.png').symlink_to('a.png')
    assert names('in/*.png') == ['a.png', 'link.png']
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


def test_files_of_others_in_the_folder_of_results_are_not_replaced(folder, job):
    others = save(folder / 'out' / 'sub' / 'a.png', 7)
    kept = others.read_bytes()
    with pytest.raises(FileExistsError, match=f'{others} would be replaced'):
        job([folder / 'in'], folder / 'out')
    assert others.read_bytes() == kept and [path for path in (folder / 'out').rglob('*') if path.is_file()] == [others]


@pytest.mark.parametrize('kind', ['refined', 'compared'])
def test_folders_of_photographs_that_are_named_like_those_of_results(folder, kind):
    save(folder / 'in' / kind / ('a.png' if kind == 'refined' else 'a.png.jpg'))
    with pytest.raises(ValueError, match=f'would both become {kind}/a.png'):
        find_photographs([str(folder / 'in')], folder / 'out', kinds_of(True, True))
    assert len(find_photographs([str(folder / 'in')], folder / 'out')) == 5


def test_results_inside_the_folder_of_photographs_are_no_input(folder, job):
    assert job([folder / 'in'], folder / 'in' / 'out').restored == 4
    assert job([folder / 'in'], folder / 'in' / 'out').ready == 4


def test_results_of_another_run_below_the_folder_of_photographs_are_no_input(folder, job):
    for out in ('rain', 'noise', 'rain'):
        outcome = job([folder / 'in'], folder / 'in' / out)
        assert outcome.restored + outcome.ready == 4
    assert job([folder / 'in' / '**' / '*'], folder / 'out').restored == 4
    assert job([folder / 'in' / 'rain'], folder / 'twice').restored == 4, 'results that are named are restored again'


def test_files_beside_the_photographs_are_no_input_of_the_tool_that_made_them(folder):
    made = MadeFiles(folder / 'in', 'segment')
    for name in ('a.json', 'preview/sub/a.jpg', 'sub/deep/b.png'):
        made.write(name, 'any')

    def results(one, kinds):
        return dict(label_maps=one.name.with_suffix('.png')) if one.name.suffix == '.jpg' else {}

    found = find_photographs([str(folder / 'in')], folder / 'in', results=results, tool='segment')
    assert [str(one.name) for one in found] == ['a.png', 'c.bmp.png', 'sub/a.png', 'sub/deep/b.jpg']


def test_a_format_that_cannot_hold_the_result_is_refused_before_the_work(folder, job, halving, monkeypatch):
    monkeypatch.setitem(LONGEST, 'JPEG', 50)
    monkeypatch.setattr(Restorer, 'restore_photograph', None)
    outcome = job([save(folder / 'b.jpg')], folder / 'out', network=halving(scale=2))
    assert outcome.failed[0].endswith(
        'b.jpg: would become 60 by 40 pixels, and JPEG holds at most 50 a side: convert the photograph to PNG or TIFF '
        'first'
    )


def test_the_panel_of_a_very_high_photograph_is_made_smaller(folder, job):
    outcome = job([save(folder / 'high.png', size=(70_000, 2))], folder / 'out', compare=True)
    assert (outcome.restored, outcome.failed) == (1, [])
    assert read_photograph(folder / 'out' / 'compared' / 'high.png.jpg').pixels.shape[0] < 65500


def test_what_is_measured_is_what_was_written(folder, job):
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(256, size=(24, 24, 3), dtype=np.uint8)).save(folder / 'b.jpg')
    runs = [
        job([folder / 'b.jpg'], folder / 'out', measure=lambda name, images: images['restored'].pixels.tolist())
        for _ in range(2)
    ]
    assert runs[0].restored == runs[1].ready == 1 and runs[0].measured == runs[1].measured


def test_what_is_done_is_known_by_content(folder, job):
    out = folder / 'out'
    job([folder / 'in'], out)
    assert job([folder / 'in'], out).ready == 4
    save(folder / 'in' / 'a.png', 60)  # another photograph under the old name
    (out / 'c.bmp.png').unlink()
    outcome = job([folder / 'in'], out)
    assert (outcome.restored, outcome.ready) == (2, 2)
    assert read_photograph(out / 'a.png').pixels[0, 0].tolist() == [30, 30, 30]
    for changed in (dict(tile=64), dict(tile=64, overlap=8), dict(identity='another network')):
        assert job([folder / 'in'], out, **changed).restored == 4
        assert job([folder / 'in'], out, **changed).ready == 4


@pytest.mark.parametrize('damage', ['result', 'record', 'kind of record'])
def test_a_result_that_is_not_as_it_was_written_is_kept_and_the_others_go_on(folder, job, damage):
    """Somebody worked on it, or nothing tells any longer that nobody did."""
    out = folder / 'out'
    job([folder / 'in'], out)
    edited = save(out / 'sub' / 'a.png', 7) if damage == 'result' else out / 'sub' / 'a.png'
    kept = edited.read_bytes()
    for record in (out / '.mmsampriors').rglob('*.json') if damage != 'result' else ():
        if json.loads(record.read_text())['name'] == 'sub/a.png':
            record.write_text('{"cut' if damage == 'record' else '["no", "dict"]')
    outcome = job([folder / 'in'], out, identity='another network')
    assert (outcome.restored, len(outcome.failed)) == (3, 1)
    assert f'{edited} is not as restore.py wrote it' in outcome.failed[0]
    assert edited.read_bytes() == kept


def test_broken_files_are_named_and_passed_by(folder, job, capsys):
    (folder / 'in' / 'broken.png').write_bytes(b'no photograph')
    outcome = job([folder / 'in', folder / 'missing.png'], folder / 'out')
    assert outcome.restored == 4 and len(outcome.failed) == 2
    assert f'not restored: {folder}/in/broken.png: is no image of a format that is read' in capsys.readouterr().err
    assert not (folder / 'out' / 'broken.png').exists()


def test_a_photograph_that_memory_does_not_hold_is_named_and_passed_by(folder, job, halving, capsys):
    """One that no tile is small enough for, and one whose tiles are given."""
    save(folder / 'in' / 'large.png', size=(200, 200))
    for number, tile in enumerate(('auto', 'off')):
        outcome = job([folder / 'in'], folder / f'out_{number}', network=halving(most_pixels=30 * 30), tile=tile)
        assert outcome.restored == 4 and len(outcome.failed) == 1
        assert f'{folder}/in/large.png: ' in outcome.failed[0] and 'memory' in outcome.failed[0]


def test_garbage_is_named_and_counted_the_same_each_time(folder, job, black_and_white, capsys):
    bright = save(folder / 'in' / 'b.jpg', 230, size=(60, 90))
    for count in ('restored', 'ready'):
        outcome = job([folder / 'in'], folder / 'out', network=black_and_white())
        assert getattr(outcome, count) == 5 and len(outcome.garbage) == 1 and not outcome.failed
        told = capsys.readouterr().err
        assert f'{bright}: b.jpg looks like garbage: around x 15, y 15 ' in told and 'a.png' not in told
        assert '--skip-garbage keeps the input' in told
        assert {*read_photograph(folder / 'out' / 'b.jpg').pixels[0, [0, 89], 0]} == {0, 255}


def test_of_garbage_the_input_is_kept(folder, job, black_and_white, capsys):
    """Asked for later, nothing else is restored anew."""
    save(folder / 'in' / 'b.jpg', 230, size=(60, 90))
    out = folder / 'out'
    job([folder / 'in'], out, network=black_and_white())
    for restored, ready, skip, value in ((1, 4, True, 230), (0, 5, True, 230), (1, 4, False, 0)):
        outcome = job([folder / 'in'], out, network=black_and_white(), skip_garbage=skip)
        assert (outcome.restored, outcome.ready, len(outcome.garbage)) == (restored, ready, 1)
        assert read_photograph(out / 'b.jpg').pixels[0, 0].tolist() == [value] * 3
        assert read_photograph(out / 'a.png').pixels[0, 0].tolist() == [50] * 3
        assert ('the input is kept\n' in capsys.readouterr().err) == skip


@pytest.mark.parametrize('pixels', ['gray', 'deep', 'alpha', 'tiled', 'gray network'])
def test_garbage_of_any_kind_of_photograph_that_is_enlarged(folder, job, black_and_white, pixels):
    given = Photograph(np.random.default_rng(0).integers(200, 256, (90, 100, 3), np.uint8))
    if pixels == 'gray':
        given.pixels = given.pixels[..., 0]
    if pixels == 'deep':
        given.pixels = given.pixels.astype(np.uint16) * 257
    if pixels == 'alpha':
        given.alpha = given.pixels[..., 1]
    write_photograph(folder / 'one.png', given)
    network = black_and_white(scale=2, channels=1 if pixels == 'gray network' else 3)
    outcome = job([folder / 'one.png'], folder / 'out', network=network, tile=64 if pixels == 'tiled' else 'auto')
    assert '--skip-garbage keeps the input enlarged' in outcome.garbage[0]
    outcome = job([folder / 'one.png'], folder / 'kept', network=network, skip_garbage=True)
    assert 'the input is kept enlarged' in outcome.garbage[0]
    kept = read_photograph(folder / 'kept' / 'one.png')
    np.testing.assert_array_equal(kept.pixels, enlarged(given.pixels, 2))
    assert kept.pixels.dtype == given.pixels.dtype and (kept.alpha is not None) == (pixels == 'alpha')


def test_a_refined_photograph_may_be_garbage_alone(folder, job, capsys):
    def refine(photograph, path):
        return photograph.with_pixels(np.where(np.arange(90)[:, None] < 45, 0, photograph.pixels).astype(np.uint8))

    save(folder / 'one.png', 100, size=(60, 90))
    options = dict(refine=refine, skip_garbage=True, compare=True)
    outcome = job([folder / 'one.png'], folder / 'out', **options)
    assert len(outcome.garbage) == 1 and 'refined/one.png looks like garbage' in outcome.garbage[0]
    assert read_photograph(folder / 'out' / 'refined' / 'one.png').pixels[0, 0].tolist() == [100] * 3
    assert job([folder / 'one.png'], folder / 'out', **options).ready == 1


def test_long_names(folder, job):
    """As long as the system allows; the panel's name would be longer."""
    name = 'x' * (255 - len('.png')) + '.png'
    save(folder / 'in' / name)
    assert job([folder / 'in'], folder / 'out').restored == 5 and (folder / 'out' / name).exists()
    outcome = job([folder / 'in'], folder / 'panels', compare=True)
    assert outcome.restored == 4 and len(outcome.failed) == 1 and 'File name too long' in outcome.failed[0]


def test_a_full_disk_leaves_no_half_photograph(folder, job, monkeypatch):
    """It ends the work: no other photograph could be written either."""
    random = np.random.default_rng(0).integers(0, 256, (300, 300, 3), np.uint8)
    Image.fromarray(random).save(folder / 'in' / 'b.jpg', quality=95)
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    monkeypatch.setattr('mmsampriors.inference.job.FULL', (errno.EFBIG,))
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limit[1]))
    try:
        with pytest.raises(OSError, match=f"File too large: '{folder / 'out' / 'b.jpg'}'$"):
            job([folder / 'in'], folder / 'out')
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert [path.name for path in (folder / 'out').iterdir() if path.is_file()] == ['a.png']


def test_mistyped_exif_is_named_and_the_photograph_restored_like_the_others(folder, job, capsys):
    entry = struct.pack('<HHII', 0x011A, 2, 5, 26)  # text where XResolution is a ratio
    exif = b'Exif\0\0II*\0' + struct.pack('<IH', 8, 1) + entry + bytes(4) + b'fast\0'
    Image.new('RGB', (30, 20)).save(folder / 'in' / 'b.jpg', exif=exif)
    outcome = job([folder / 'in'], folder / 'out')
    assert (outcome.restored, outcome.failed) == (5, [])
    assert 'b.jpg: EXIF of a wrong type, left out: XResolution' in capsys.readouterr().err


def test_a_link_that_leads_to_itself_is_named_and_the_others_are_restored(folder, job):
    (folder / 'in' / 'b.png').symlink_to('b.png')
    outcome = job([folder / 'in'], folder / 'out')
    assert outcome.restored == 4 and 'b.png' in outcome.failed[0]


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
    assert job([folder / 'in'], folder / 'out', compare=True, refine=refine).ready == 4
    refine.identity = 'another refiner'
    outcome = job([folder / 'in'], folder / 'out', compare=True, refine=refine)
    assert outcome.restored == 4 and outcome.ready == 0


def test_panels_show_the_pixels_of_what_is_enlarged(folder, job, halving):
    Image.fromarray(np.arange(600, dtype=np.uint8).reshape(20, 30, 1).repeat(3, axis=2)).save(folder / 'in' / 'a.png')
    assert job([folder / 'in' / 'a.png'], folder / 'out', network=halving(scale=2), compare=True).restored == 1
    assert read_photograph(folder / 'out' / 'a.png').pixels.shape == (40, 60, 3)
    panel = read_photograph(folder / 'out' / 'compared' / 'a.png.jpg').pixels[-40:]
    assert panel.shape[1] == 2 * 60 + 8
    given = read_photograph(folder / 'in' / 'a.png').pixels.repeat(2, axis=0).repeat(2, axis=1)
    assert np.abs(panel[:, :60].astype(int) - given).mean() < 3

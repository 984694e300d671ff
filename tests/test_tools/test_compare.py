"""tools/analysis_tools/compare.py, in this process."""

import csv
import importlib.util
import json
from pathlib import Path

import pytest
from PIL import Image

from mmsampriors.reports import save_results

TOOL = Path(__file__).resolve().parents[2] / 'tools' / 'analysis_tools' / 'compare.py'


@pytest.fixture
def compare(monkeypatch, tmp_path, capsys):
    spec = importlib.util.spec_from_file_location('compare_tool', TOOL)
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    monkeypatch.chdir(tmp_path)

    def call(*arguments):
        monkeypatch.setattr('sys.argv', ['compare.py', *arguments])
        tool.main()
        return capsys.readouterr().out

    return call


def save_test(run, rain, snow, **more):
    save_results(run, dict(student=dict(Rain=dict(PSNR=rain, SSIM=0.9), Snow=dict(PSNR=snow, **more))))


def validated(run, *psnr):
    folder = Path(run) / '20260101_000000' / 'vis_data'
    folder.mkdir(parents=True)
    (folder / 'scalars.json').write_text(
        '\n'.join(json.dumps(dict(PSNR=value, time=1, step=10 * index + 10)) for index, value in enumerate(psnr))
    )


def test_metrics_without_reference_have_a_table_of_their_own(compare):
    for run in ('plain_seed0', 'spd_seed0'):
        save_test(run, 30, 20, NIQE=4.0)
    against, without = compare('plain_seed0', 'spd_seed0').split('Without reference:')
    assert '| Snow | NIQE |' in without and 'NIQE' not in against and 'PSNR' not in without
    assert '| test set | metric |' in against and '| test set | metric |' in without


def test_tests_of_seeds_are_compared(compare):
    for run, values in (
        ('plain_seed0', (30, 20)),
        ('plain_seed1', (31, 22)),
        ('spd_seed0', (30.5, 21)),
        ('spd_seed1', (31.5, 21)),
    ):
        save_test(run, *values, MAE=1)
    save_test('old', 29, 19)
    printed = compare('plain_seed0', 'plain_seed1', 'spd_seed0', 'spd_seed1', '--group', 'before SPD', 'old')
    assert '| test set | metric | plain (n=2) | spd (n=2) | before SPD (n=1) |' in printed
    assert '| Rain | PSNR | 30.50 ± 0.71 | 31.00 ± 0.71 (+0.50 [+0.50, +0.50]) | 29.00 (-1.50) |' in printed
    assert '| Snow | PSNR | 21.00 ± 1.41 | 21.00 ± 0.00 (+0.00 [-12.71, +12.71]) | 19.00 (-2.00) |' in printed
    assert 'Left out, for some runs lack them: Snow MAE' in printed
    assert (Path('work_dirs/compare/compare.md').read_text().splitlines()[2:]) == printed.splitlines()[2:7]
    with open('work_dirs/compare/compare.csv') as file:
        spd = [line for line in csv.DictReader(file) if line['group'] == 'spd']
    assert [(line['test_set'], line['metric'], line['runs'], float(line['difference'])) for line in spd] == [
        ('Rain', 'PSNR', '2', 0.5),
        ('Rain', 'SSIM', '2', 0),
        ('Snow', 'PSNR', '2', 0),
    ]
    assert min(Image.open('work_dirs/compare/compare.png').size) > 300
    written = sorted(path.name for path in Path('work_dirs/compare').glob('[!.]*'))
    assert written == ['compare.csv', 'compare.md', 'compare.png']


def test_validations_are_compared_at_the_last_common_step(compare):
    validated('plain', 28, 29, 30)
    validated('spd', 28, 29.5)
    printed = compare('plain', 'spd', '--val', '--out', 'out')
    assert 'Validation at step 20' in printed and '| validation | PSNR | 29.00 | 29.50 (+0.50) |' in printed
    assert min(Image.open('out/compare.png').size) > 300


def test_files_of_others_stay(compare):
    for run in ('a', 'b'):
        save_test(run, 30, 20)
    for _ in range(2):
        compare('a', 'b', '--out', 'out')  # what it made it replaces
    Path('out/compare.md').write_text('mine')
    Path('file').write_text('mine')
    for out, message in (('out', 'compare.md is not as compare.py wrote it'), ('file', 'expected a folder')):
        with pytest.raises(SystemExit, match=message):
            compare('a', 'b', '--out', out)
    assert Path('out/compare.md').read_text() == 'mine'


def test_errors_name_the_run_and_the_way_out(compare, capsys):
    save_test('a', 30, 20)
    Path('b').mkdir()
    for arguments, words in (
        (('a', 'b', 'c'), ('b holds no test_results.json', 'there is no folder c', '--val')),
        (('a', '--val'), ('a holds no validation',)),
        (('a', 'a'), ('a is named twice',)),
        (('a', '--metric', 'LPIPS'), ('no run has the metric LPIPS; there are PSNR, SSIM',)),
    ):
        with pytest.raises(SystemExit) as error:
            compare(*arguments)
        assert all(word in str(error.value) for word in words), error.value
    for arguments, words in (((), 'name at least one run'), (('--group', 'alone'), "found 'alone' alone")):
        with pytest.raises(SystemExit):
            compare(*arguments)
        assert words in capsys.readouterr().err
    assert not Path('work_dirs').exists()

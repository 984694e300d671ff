import csv
import json

import pytest
from mmengine.config import Config

from mmsampriors.reports import by_set, load_results, save_results, sets_of, show_value, table_of

PSNR, SSIM = dict(type='PSNR'), dict(type='SSIM')


def config(loaders, evaluators):
    return Config(dict(test_dataloader=loaders, test_evaluator=evaluators, test_cfg=dict(type='MultiTestLoop')))


def loader(name=None, folder=None):
    return dict(dataset=dict(metainfo=dict(dataset_type=name) if name else None, data_root=folder))


@pytest.mark.parametrize(
    'loaders, evaluators, names',
    [
        (loader('gopro', 'data/gopro/test'), [PSNR, SSIM], ['gopro']),
        (loader('GoPro', 'my/blurred'), [PSNR], ['blurred']),
        (loader('SIDD', 'data/sidd/val'), [PSNR], ['SIDD']),
        (loader(None, 'pairs/'), dict(type='Evaluator', metrics=[PSNR]), ['pairs']),
        (loader(), dict(metrics=PSNR), ['test']),
        (loader('DND'), dict(metrics=None), ['DND']),
        (loader('gopro'), [dict(prefix='GoPro', **PSNR)], ['GoPro']),
        ([loader('a'), loader('b')], [[dict(prefix='A', **PSNR)], [dict(prefix='B', **PSNR)]], ['A', 'B']),
        ([loader('a'), loader('b')], [dict(metrics=[PSNR]), dict(metrics=dict(prefix='B', **PSNR))], ['a', 'B']),
    ],
)
def test_sets_are_named_in_all_forms_that_mmagic_takes(loaders, evaluators, names):
    assert [one.name for one in sets_of(config(loaders, evaluators))] == names


def test_how_a_set_is_measured_is_said_in_words():
    on_y, niqe = dict(crop_border=4, convert_to='Y'), dict(type='NIQE')
    evaluators = [[dict(PSNR, **on_y), dict(SSIM, **on_y), niqe], [dict(PSNR, prefix='b')], [dict(niqe, prefix='c')]]
    expected = ['PSNR and SSIM on Y, without a border of 4 pixels', 'PSNR on RGB', '']
    assert [one.settings for one in sets_of(config([loader(name) for name in 'abc'], evaluators))] == expected


def test_metrics_go_to_their_sets():
    sets = sets_of(config([loader('a'), loader('b')], [[PSNR, SSIM], [dict(prefix='B', **PSNR)]]))
    assert by_set({'PSNR': 30, 'SSIM': 0.5, 'B/PSNR': 20, 'FID-Full/fid': 1}, sets) == dict(
        a=dict(PSNR=30, SSIM=0.5, **{'FID-Full/fid': 1}), B=dict(PSNR=20)
    )
    sets = sets_of(config(loader('a'), [PSNR, dict(prefix='border', **PSNR)]))
    assert by_set({'PSNR': 30, 'border/PSNR': 20}, sets) == dict(a={'PSNR': 30, 'border/PSNR': 20})


def test_configs_that_would_fail_at_the_end_of_the_test_are_refused_at_once():
    with pytest.raises(ValueError, match="test sets a and b both report PSNR with the prefix ''"):
        sets_of(config([loader('a'), loader('b')], [[PSNR], [PSNR]]))
    with pytest.raises(ValueError, match='2 test sets and test_evaluator 1 lists'):
        sets_of(config([loader('a'), loader('b')], [PSNR]))
    with pytest.raises(ValueError, match='names no test set'):
        sets_of(Config(dict(test_dataloader=None)))


def test_table_and_files_hold_every_set_and_image(tmp_path):
    results = dict(
        student=dict(Rain=dict(PSNR=30.123456, SSIM=0.9), Snow=dict(PSNR=20.0, SegIoU=0.123456)),
        refined=dict(Rain=dict(PSNR=31.0)),
    )
    assert table_of(results).splitlines() == [
        'test set    image   PSNR    SSIM  SegIoU',
        '--------  -------  -----  ------  ------',
        'Rain      student  30.12  0.9000       -',
        'Rain      refined  31.00       -       -',
        'Snow      student  20.00       -  0.1235',
    ]
    assert table_of(dict(student=results['student'])).splitlines()[2] == 'Rain      30.12  0.9000       -'
    save_results(str(tmp_path / 'new'), results, checkpoint='a.pth')
    assert load_results(str(tmp_path / 'new')) == results
    assert json.loads((tmp_path / 'new/test_results.json').read_text())['checkpoint'] == 'a.pth'
    with open(tmp_path / 'new/test_results.csv') as file:
        rows = list(csv.DictReader(file))
    assert rows[0] == dict(test_set='Rain', image='student', PSNR='30.123456', SSIM='0.9', SegIoU='')
    written = sorted(path.name for path in (tmp_path / 'new').iterdir() if path.is_file())
    assert written == ['test_results.csv', 'test_results.json']


def test_metrics_without_reference_have_a_table_of_their_own():
    results = dict(student={'Rain': dict(PSNR=30.0, NIQE=4.0), 'Snow': {'a/NIQE': 5.0, 'a/PSNR': 20.0}})
    against, without = table_of(results).split('\n\n')
    assert 'PSNR' in against and 'NIQE' not in against and 'NIQE' in without and 'PSNR' not in without
    assert without.startswith('without reference') and '4' in without.splitlines()[2]
    assert table_of(dict(student=dict(Rain=dict(NIQE=4.0)))).startswith('without reference')


def test_runs_without_or_with_damaged_results_say_what_to_do(tmp_path):
    with pytest.raises(FileNotFoundError, match='holds no test_results.json: test the run with python tools/test.py'):
        load_results(str(tmp_path))
    values = ['{"results": {"student": {"Rain": {"PSNR": %s}}}}' % value for value in ('"x"', 'NaN', 'null')]
    for damaged in ('{"results": {"stu', '[]', '{}', '{"results": [1]}', *values):
        (tmp_path / 'test_results.json').write_text(damaged)
        with pytest.raises(ValueError, match='damaged or not from tools/test.py'):
            load_results(str(tmp_path))


def test_values_have_the_usual_digits():
    assert [show_value(*pair) for pair in (('PSNR', 30.129), ('SSIM', 0.91), ('MAE', 0.0123456), ('PSNR', None))] == [
        '30.13',
        '0.9100',
        '0.01235',
        '-',
    ]
    assert show_value('PSNR', float('inf')) == 'inf'


def test_results_of_others_are_not_replaced(tmp_path):
    for psnr in (30.0, 31.0):
        save_results(str(tmp_path), dict(student=dict(Rain=dict(PSNR=psnr))))
    assert load_results(str(tmp_path))['student']['Rain']['PSNR'] == 31.0
    (tmp_path / 'test_results.csv').write_text('edited')
    with pytest.raises(FileExistsError, match='test_results.csv is not as test.py wrote it'):
        save_results(str(tmp_path), dict(student=dict(Rain=dict(PSNR=32.0))))
    assert (tmp_path / 'test_results.csv').read_text() == 'edited'

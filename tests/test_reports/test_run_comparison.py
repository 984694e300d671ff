import json
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmsampriors.reports import Run, compare_runs, gather, paired_t, read_validated
from mmsampriors.reports.run_comparison import name_of


@pytest.mark.parametrize(
    'path, group, seed',
    [
        ('runs/spd_seed12', 'spd', '12'),
        ('runs/spd-seed-3', 'spd', '3'),
        ('runs/nafnet.s1/', 'nafnet', '1'),
        ('runs/spd/seed0', 'spd', '0'),
        ('runs/spd', 'spd', None),
        ('runs/nafnets2', 'nafnets2', None),
        ('runs/restormer_derain_64', 'restormer_derain_64', None),
    ],
)
def test_group_and_seed_by_name(path, group, seed):
    assert name_of(path) == (group, seed)


def run(group, seed, **values):
    return Run(f'{group}_{seed}', group, seed, {('Rain', name): value for name, value in values.items()})


values = st.lists(st.floats(-100, 100), min_size=2, max_size=5)


@given(values, st.data())
def test_differences_of_the_same_seeds_are_paired(ours, data):
    theirs = data.draw(st.lists(st.floats(-100, 100), min_size=len(ours), max_size=len(ours)))
    plain = [run('plain', str(seed), PSNR=value) for seed, value in enumerate(theirs)]
    spd = [run('spd', str(seed), PSNR=value) for seed, value in enumerate(ours)]
    (first, second), left_out = compare_runs([*plain, *reversed(spd)])
    assert first.difference is None and left_out == []
    pairs = [mine - other for mine, other in zip(ours, theirs)]
    assert second.difference == pytest.approx(paired_t(pairs), abs=1e-9)
    assert second.difference.mean == pytest.approx(statistics.mean(pairs), abs=1e-9)
    assert second.level == pytest.approx((statistics.mean(ours), statistics.stdev(ours)), abs=1e-9)


def test_without_pairs_a_difference_has_no_deviation():
    plain = [run('plain', '0', PSNR=30), run('plain', '1', PSNR=32)]
    cells, left_out = compare_runs([*plain, run('spd', '0', PSNR=34, SSIM=1), run('spd', '2', PSNR=36, SSIM=1)])
    assert cells[1].difference == (4, None, None) and cells[1].level == (35, pytest.approx(2**0.5))
    assert left_out == [('Rain', 'SSIM')]
    single = compare_runs([run('plain', None, PSNR=30), run('spd', None, PSNR=29)])[0][1]
    assert single.level == (29, None) and single.difference == (-1, None, None)


def test_what_cannot_be_compared_is_refused(tmp_path):
    with pytest.raises(ValueError, match='no measure in common:\n  a_0: Rain PSNR\n  b_0: Rain SSIM'):
        compare_runs([run('a', '0', PSNR=1), run('b', '0', SSIM=1)])
    with pytest.raises(FileNotFoundError, match='there is no folder nowhere'):
        gather([('a', None, 'nowhere')], read_validated)
    with pytest.raises(ValueError, match='named twice'):
        gather([('a', None, str(tmp_path))] * 2, lambda work_dir: {})


def test_validations_are_read_over_resumptions_and_after_a_kill(tmp_path):
    for stamp, lines in (
        ('1', [dict(loss=1, lr=0.1, iter=5, step=5), dict(PSNR=30, time=1, data_time=0, step=10)]),
        ('2', [{'PSNR': 31, 'step': 10}, {'Rain/PSNR': 20, 'SSIM': 0.5, 'step': 20}]),
    ):
        (tmp_path / stamp / 'vis_data').mkdir(parents=True)
        text = '\n'.join(map(json.dumps, lines))
        (tmp_path / stamp / 'vis_data/scalars.json').write_text(f'{text}\n{{"PSNR": 3')
    assert read_validated(str(tmp_path)) == {
        10: {('validation', 'PSNR'): 31},
        20: {('Rain', 'PSNR'): 20, ('validation', 'SSIM'): 0.5},
    }
    with pytest.raises(FileNotFoundError, match='holds no validation'):
        read_validated(str(tmp_path / '1'))

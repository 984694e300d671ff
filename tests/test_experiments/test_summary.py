import json

import pytest
from PIL import Image

from mmsampriors.experiments import Trial, summarize
from mmsampriors.experiments.summary import sentence_of
from mmsampriors.models.schedules import STAGES
from mmsampriors.reports import Interval, save_results

TIMES = dict(
    plain=[('warmup', 1.0), ('refiner', 9.0), ('warmup', 1.0)],
    self=[('warmup', 1.0), ('refiner', 3.0), ('student', 2.0)],
    spd=[('warmup', 1.0), ('refiner', 4.0), ('student', 3.0)],
)


@pytest.fixture
def trials(tmp_path):
    """Three baselines at three seeds; 10 iterations of each stage, logged every 5."""
    made = []
    for baseline, gain in (('plain', 0.0), ('self', 0.3), ('spd', 0.5)):
        for seed in range(3):
            trial = Trial(baseline, seed, tmp_path / 'x.py', tmp_path / f'{baseline}-seed{seed}', 30)
            logs = trial.work_dir / '20260101_000000' / 'vis_data'
            logs.mkdir(parents=True)
            records = [
                {'step': step, 'time': TIMES[baseline][(step - 1) // 10][1], 'iter': step}
                | {'spd.stage': STAGES.index(TIMES[baseline][(step - 1) // 10][0])}
                for step in range(5, 31, 5)
            ]
            (logs / 'scalars.json').write_text('\n'.join(map(json.dumps, records)))
            rain = dict(PSNR=30 + seed + gain + 0.01 * seed * (baseline == 'spd'), SSIM=0.9)
            snow = dict(PSNR=20 + seed * (1 if baseline == 'plain' else -1), SSIM=0.8)
            save_results(str(trial.work_dir / 'test'), dict(student=dict(Rain=rain, Snow=snow)))
            made.append(trial)
    return made


def test_the_summary_says_gain_masks_and_cost(trials, tmp_path):
    summary = summarize(trials, tmp_path, seconds_of_masks=60.0)
    rain, snow = summary.sentence.splitlines()
    # 3 seeds of (10 + 40 + 30) seconds and the masks, over 3 seeds of 20.
    assert rain == (
        'SPD gains 0.510 dB [0.485, 0.535] on Rain; masks are +0.210 [+0.185, +0.235] of it; '
        'it costs 5.0 times plain training.'
    )
    assert snow.startswith('SPD neither helps nor harms on Snow as far as these seeds show: -2.000 [-6.968, +2.968] dB')
    lines = [line.split(' | ') for line in summary.table.splitlines()]
    assert ['| Rain', 'PSNR', 'SPD', '3', '31.51', '+0.510 [+0.485, +0.535] |'] in lines
    assert (tmp_path / 'summary.md').read_text() == f'{summary.sentence}\n\n{summary.table}\n'
    assert min(Image.open(tmp_path / 'summary.png').size) > 200
    summarize(trials, tmp_path, seconds_of_masks=60.0)  # what it made it replaces
    (tmp_path / 'summary.md').write_text('mine')
    with pytest.raises(FileExistsError, match='summary.md is not as does_it_help.py wrote it'):
        summarize(trials, tmp_path, seconds_of_masks=60.0)


@pytest.mark.parametrize(
    'gain, words',
    [
        (Interval(-0.2, -0.3, -0.1), 'SPD loses 0.200 dB [0.100, 0.300] on Rain'),
        (Interval(0.2, -0.1, 0.5), 'neither helps nor harms'),
        (Interval(0.2), 'is +0.200 dB from plain training on Rain, and one seed shows no more'),
    ],
)
def test_each_outcome_has_its_words(gain, words):
    assert words in sentence_of('Rain', 'PSNR', gain, Interval(0.01), 2.0)


def test_a_config_without_masks_is_judged_without_them(trials, tmp_path):
    summary = summarize([trial for trial in trials if trial.baseline != 'self'], tmp_path)
    assert summary.sentence.splitlines()[0] == (
        'SPD gains 0.510 dB [0.485, 0.535] on Rain; the config has no masks; it costs 4.0 times plain training.'
    )
    assert 'self-distilled' not in summary.table


def test_a_run_without_a_log_is_named(trials, tmp_path):
    (tmp_path / 'spd-seed1' / '20260101_000000' / 'vis_data' / 'scalars.json').unlink()
    with pytest.raises(FileNotFoundError, match='spd-seed1 has no log'):
        summarize(trials, tmp_path)

"""The evidence: its statistics, its rows, its order of work, and the whole of it at a size that means nothing."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import skimage.data
from mmengine.config import Config
from mmengine.registry import init_default_scope
from PIL import Image

TOOLS = Path(__file__).resolve().parents[2] / '.dev_scripts'
sys.path.insert(0, str(TOOLS))

import evidence  # noqa: E402

from evidence_parts import configs, report  # noqa: E402
from evidence_parts import groups as comparison
from evidence_parts.photographs import (  # noqa: E402
    Photographs,
    bitmaps_of,
    held_out_of,
    label_maps_of,
    pairs_of,
    prepare,
)
from evidence_parts.presets import PRESETS, TRAINED_ON, Preset  # noqa: E402
from evidence_parts.rows import Rows, merged, read_rows  # noqa: E402
from evidence_parts.runs import Runs  # noqa: E402
from evidence_parts.trainings import STUDENTS, Training, plan  # noqa: E402
from mmsampriors.registry import MODELS  # noqa: E402

TINY = Preset(
    name='tiny',
    generators=dict(nafnet=dict(mid_channels=4, enc_blk_nums=[1], dec_blk_nums=[1])),
    learning_rates=dict(nafnet=1e-3),
    updates=dict(nafnet=8),
    patch=32,
    batch=2,
    refiner=0.5,
    timed=16,
    workers=0,
    jobs=1,
)


def row(student='plain', seed=0, psnr=30.0, masks='none', **values):
    schedule = 'joint' if student in ('self', 'spd', 'plain_same_time') else ''
    known = dict(
        preset='cpu',
        task='derain',
        trained_on='rain',
        model='nafnet',
        seed=seed,
        student=student,
        masks=masks,
        schedule=schedule,
        variant='',
        updates=8,
        test_on='held_out',
        test_set='rain',
        psnr=psnr,
        ssim=0.9,
        patch=64,
        batch=8,
        hardware='here',
        cost_ratio=1.0,
    )
    return {**known, **values}


@pytest.fixture
def photographs(tmp_path):
    """Four photographs of 64 by 48 pixels and label maps of them."""
    for folder in ('images', 'segments'):
        (tmp_path / folder).mkdir()
    for name in ('astronaut', 'chelsea', 'coffee', 'rocket'):
        image = Image.fromarray(getattr(skimage.data, name)()).resize((64, 48))
        image.save(tmp_path / 'images' / f'{name}.png')
        Image.fromarray(np.array(image.convert('L')) // 64).save(tmp_path / 'segments' / f'{name}.png')
    return tmp_path


def test_rows_are_merged_by_what_they_measure(tmp_path):
    other = tmp_path / 'other.json'
    other.write_text(json.dumps([row(), row(seed=1)]))
    rows = Rows(tmp_path / 'results.json', [other])
    rows.add(row(seed=1, psnr=31.0))
    rows.add(row(seed=2))
    assert [(one['seed'], one['psnr']) for one in read_rows(tmp_path / 'results.json')] == [(0, 30), (1, 31), (2, 30)]
    assert merged(read_rows(other), [row(variant='other')])[-1]['variant'] == 'other'
    identity = Training(PRESETS['cpu'], 'derain', 'rain', 'nafnet', 2, 'plain', 8).identity()
    with pytest.raises(SystemExit, match='no rows in .*empty/results.json'):
        evidence.report(tmp_path / 'empty', [])
    assert rows.has(identity, 'held_out', ['rain'])
    assert not rows.has(identity, 'held_out', ['rain', 'rain_heavy']) and not rows.has(identity, 'eval', ['rain'])
    other.write_text('[{}]')
    with pytest.raises(ValueError, match='other.json is no results.json'):
        read_rows(other)


def test_differences_are_paired_by_seed_and_by_image():
    rows = [row(seed=seed, psnr=30 + seed, images=dict(a=28.0 + seed, b=32.0 + seed)) for seed in (0, 1, 2)]
    rows += [
        row('spd', seed=seed, psnr=30.5 + seed, masks='human', images=dict(a=28.2 + seed, b=32.8 + seed))
        for seed in (1, 2, 3)
    ]
    rows += [row('spd', psnr=40.0, masks='human', test_set='rain_heavy')]
    plain, spd, heavy = groups = comparison.groups_of(rows)
    assert comparison.baseline_of(spd, groups, 'plain') is plain
    assert comparison.baseline_of(heavy, groups, 'plain') is comparison.baseline_of(spd, groups, 'self') is None
    assert comparison.by_seed(spd, plain) == pytest.approx((0.5, 0.5, 0.5))
    assert comparison.by_image(spd, plain) == pytest.approx(dict(a=0.2, b=0.8))
    assert comparison.over_images(spd, plain)[1:] == pytest.approx((0.2, 0.8))


def test_the_report_says_who_won_by_how_much(tmp_path):
    rows = []
    for seed in (0, 1, 2):
        rows += [
            row(seed=seed, psnr=30 + seed, images=dict(a=30.0, b=31.0), curve=[[1, 29.0], [2, 30.0]]),
            row('self', seed, 29.9 + seed),
            row('plain_restarted', seed, 30.3 + seed, schedule='joint'),
            row('plain_same_time', seed, 30.6 + seed, masks='human', cost_ratio=2.5),
            row(
                'spd',
                seed,
                30.5 + seed + seed / 100,
                masks='human',
                images=dict(a=30.4, b=31.6),
                image_masks=dict(a=[10, 0.8], b=[20, 1.0]),
                curve=[[1, 29.0], [2, 30.5]],
            ),
            row('refiner', seed, refined_psnr=31.0, refined_images=dict(a=31.0)),
            row('refiner', seed, masks='human', refined_psnr=31.3 + seed / 100, refined_images=dict(a=31.3)),
        ]
    (tmp_path / 'others.json').write_text(json.dumps(rows))
    evidence.report(tmp_path / 'all', [tmp_path / 'others.json'])
    tmp_path = tmp_path / 'all'
    assert read_rows(tmp_path / 'results.json') == rows
    assert '## Ablations' not in (tmp_path / 'table.md').read_text()  # without the defaults there are none
    lines = {line.split(' | ')[3]: line for line in (tmp_path / 'table.md').read_text().splitlines() if ' | ' in line}
    spd = lines['spd, human, joint'].split(' | ')
    assert spd[4:6] == ['3', '31.51 ± 1.01'] and spd[10:] == [
        '+0.510 [+0.485, +0.535] {+0.40, +0.60}',
        '+0.210 [+0.185, +0.235]',
        '-0.090 [-0.115, -0.065]',
        '+0.610 [+0.585, +0.635]',
        '- |',
    ]
    assert lines['refiner, human'].split(' | ')[6:8] == ['31.31 ± 0.01', '+0.310 [+0.285, +0.335]']
    assert 'SPD (human) costs 2.50 times plain training' in (tmp_path / 'table.md').read_text()
    assert min(Image.open(tmp_path / 'curves.png').size) > 300


def test_ablations_are_compared_with_the_defaults():
    rows = [row(seed=seed, psnr=30.0) for seed in (0, 1)]
    for seed in (0, 1, 2):
        rows.append(row('spd', seed, 30.5, masks='felzenszwalb', schedule='two_stage'))
    rows += [
        row('spd', seed, 30.4 + seed / 10, masks='felzenszwalb', schedule='two_stage', variant='fine')
        for seed in (0, 1)
    ]
    rows.append(row('spd', 0, 20.0, masks='felzenszwalb', schedule='two_stage', variant='fine', test_set='rain_heavy'))
    table = report.ablations_table(comparison.groups_of(rows)).splitlines()
    assert len(table) == 5
    cells = table[-1].split(' | ')
    assert cells[3:5] == ['spd, felzenszwalb, two_stage, fine', '2']
    assert cells[6].startswith('-0.050 [') and cells[7].startswith('+0.450 [')


def test_a_training_comes_after_the_one_that_it_starts_from():
    base = Training(TINY, '', '', '', 0, '', 0, schedule='two_stage')
    work = plan(
        base,
        tasks=dict(derain='rain', deblur='blur'),
        models=['nafnet'],
        seeds=[0, 1],
        students=STUDENTS,
        masks=['human', 'none', 'sam_tiny'],
    )
    derain = [(one.student, one.masks) for one in work if one.task == 'derain' and one.seed == 0]
    assert derain == [
        ('plain', 'none'),
        ('plain_restarted', 'none'),
        ('self', 'none'),
        ('spd', 'human'),
        ('spd', 'sam_tiny'),
        ('plain_same_time', 'human'),
    ]
    assert [one.task for one in work[:10]] == ['derain'] * 10 and [one.student for one in work[:2]] == ['plain'] * 2
    assert all(one.student != 'plain_same_time' for one in work[:-4]) and len({one.name for one in work}) == len(work)
    spd, baseline = next(one for one in work if one.student == 'spd'), replace(work[-1], scale=2.5)
    assert (spd.first, spd.refiner_iters, spd.iters, spd.total_iters) == (2, 4, 10, 12)
    assert (baseline.first, baseline.iters, baseline.total_iters) == (0, 20, 20)
    restarted = next(one for one in work if one.student == 'plain_restarted')
    assert (restarted.first, restarted.iters, restarted.total_iters) == (2, 6, 8) and not restarted.distils
    refiners = plan(
        base, tasks=dict(derain='rain'), models=['nafnet'], seeds=[0], students=['refiner'], masks=['none', 'human']
    )
    assert [(one.student, one.masks, one.first) for one in refiners] == [
        ('plain', 'none', 0),
        ('refiner', 'none', 8),
        ('refiner', 'human', 8),
    ]


FINISHED = replace(TINY, name='finished', start=1.0, more=0.5, refiner=0.25, restart=0.4)


def test_a_finished_network_goes_on(tmp_path, monkeypatch):
    base = Training(FINISHED, '', '', '', 0, '', 0, schedule='two_stage')
    work = plan(base, tasks=dict(derain='rain'), models=['nafnet'], seeds=[0], students=STUDENTS, masks=['none'])
    iters = {one.student: (one.first, one.refiner_iters, one.iters, one.total_iters) for one in work}
    assert iters == dict(
        plain=(0, 0, 8, 8), plain_restarted=(8, 0, 4, 12), self=(8, 2, 6, 14), plain_same_time=(8, 0, 4, 12)
    )
    # Two iterations of the refiner and four of the student take as long as eleven plain updates.
    seconds = dict(plain=(2.0, 1.0), self=(1.5, 2.0))
    monkeypatch.setattr(Runs, 'time', lambda self, training: seconds[training.student])
    ratio = Runs(tmp_path, None, None).cost_ratio(work[-1])
    assert ratio == 11 / 4
    baseline = replace(work[-1], scale=ratio)
    assert (baseline.iters, baseline.total_iters, baseline.distilled().scale) == (11, 19, 1.0)
    for training in (*work[:-1], baseline):
        path = tmp_path / f'{training.student}.py'
        configs.write_training(path, training, tmp_path, load_from='finished.pth')
        scheduler, lengths = Config.fromfile(path).param_scheduler, dict(self=[2, 4], plain_restarted=[4])
        if training.student != 'plain':
            assert scheduler.periods == lengths.get(training.student, [11])
            assert scheduler.restart_weights == [1, 0.4][-len(scheduler.periods) :]
    # What they are compared with.
    rows = [row(one.student, masks=one.masks, schedule=one.schedule, psnr=30 + one.iters) for one in work]
    *_, distilled, _ = groups = comparison.groups_of(rows)
    gains = [
        comparison.by_seed(distilled, comparison.baseline_of(distilled, groups, name)).mean
        for name in report.BASELINES[:3]
    ]
    assert distilled.student == 'self' and gains == [-2, 2, 2]


def test_the_cost_counts_every_stage_and_the_masks(tmp_path, monkeypatch):
    seconds = dict(plain=(2.0, 1.0), spd=(3.0, 4.0))
    monkeypatch.setattr(Runs, 'time', lambda self, training: seconds[training.student])
    runs = Runs(tmp_path, None, None)
    baseline = Training(TINY, 'derain', 'rain', 'nafnet', 0, 'plain_same_time', 8, masks='sam_tiny', schedule='joint')
    assert runs.cost_ratio(baseline) == 8 * 4 / 8
    (tmp_path / 'masks').mkdir()
    (tmp_path / 'masks' / 'sam_tiny.json').write_text('{"seconds": 16}')
    assert runs.cost_ratio(baseline) == (8 * 4 + 16) / 8
    # Two updates from plain training, four iterations of the refiner, six of the student.
    assert runs.cost_ratio(replace(baseline, schedule='two_stage')) == (2 * 1 + 4 * 3 + 6 * 4 + 16) / 8
    restored = replace(baseline, schedule='two_stage', masks='sam_tiny_restored')
    with pytest.raises(RuntimeError, match='Train it here first'):
        runs.cost_ratio(restored)
    (tmp_path / 'masks' / f'{replace(restored, student="spd").masks_name}.json').write_text('{"seconds": 24}')
    assert runs.cost_ratio(restored) == (2 * 1 + 4 * 3 + 6 * 4 + 24) / 8


def test_a_tenth_is_held_out_whatever_the_others_are(photographs, tmp_path):
    names = [f'{number:03}' for number in range(300)]
    assert len(held_out_of(names)) == 30 and held_out_of(names) == held_out_of(names[::-1])
    source = Photographs(str(photographs / 'images'), str(photographs / 'segments'))
    prepare(tmp_path / 'out', source)
    prepare(tmp_path / 'out', source)
    parts = [
        sorted(path.name for path in (tmp_path / 'out' / 'photographs' / part).iterdir())
        for part in ('train', 'held_out')
    ]
    assert list(map(len, parts)) == [3, 1] and not set(parts[0]) & set(parts[1])
    for path in (photographs / 'segments').iterdir():
        human, shuffled = (
            np.array(Image.open(tmp_path / 'out' / 'segments' / kind / path.name)) for kind in ('human', 'shuffled')
        )
        assert (human == np.array(Image.open(path))).all()
        assert human.shape == shuffled.shape and (human != shuffled).any()
    prepare(tmp_path / 'again', replace(source, eval_name='held_out'))  # what the command line says without others
    assert label_maps_of(tmp_path / 'again', 'held_out') == tmp_path / 'again' / 'segments' / 'human'
    assert label_maps_of(tmp_path / 'out', 'train') == tmp_path / 'out' / 'segments' / 'human'
    others = tmp_path / 'others'
    others.mkdir()
    Image.new('RGB', (32, 32)).save(others / 'black.png')
    prepare(tmp_path / 'out', replace(source, eval_photographs=str(others), eval_segments=None, eval_name='others'))
    assert [path.name for path in (tmp_path / 'out' / 'photographs' / 'others').iterdir()] == ['black.png']
    assert label_maps_of(tmp_path / 'out', 'others') is None
    with pytest.raises(ValueError, match='same names'):
        prepare(tmp_path / 'other', replace(source, eval_photographs=str(photographs / 'images')))
    (photographs / 'segments' / 'coffee.png').unlink()
    with pytest.raises(ValueError, match='1 photographs have no label map.*coffee.png'):
        prepare(tmp_path / 'other', source)


def test_the_configs_say_what_is_trained(tmp_path):
    plain = Training(TINY, 'denoise', 'noise_50', 'nafnet', 3, 'plain', 8)
    spd = replace(
        plain,
        student='spd',
        masks='felzenszwalb',
        schedule='two_stage',
        variant='lighter',
        overrides=(('model.spd.losses.spd.loss_weight', 0.5),),
    )
    read = {}
    others = (
        replace(plain, student='refiner', masks='human'),
        replace(plain, student='plain_restarted', schedule='two_stage'),
    )
    for training in (plain, spd, *others):
        configs.write_training(tmp_path / training.name / 'train.py', training, tmp_path, load_from='first.pth')
        configs.write_test(
            tmp_path / training.name / 'test.py', training, tmp_path, tmp_path / 'images', 'eval', 'felzenszwalb'
        )
        read[training.student] = Config.fromfile(tmp_path / training.name / 'test.py')
    assert read['plain'].model.type == 'BaseEditModel' and 'spd' not in read['plain'].model
    assert [hook.type for hook in read['plain'].custom_hooks] == ['mmsampriors.ExactResumeHook']
    assert read['plain'].model.generator == {**read['spd'].model.generator}
    model, scheduler = read['spd'].model, read['spd'].param_scheduler
    assert model.spd.losses.spd.loss_weight == 0.5 and model.spd.schedule.refiner == 0.4
    assert scheduler.periods == [4, 6] and scheduler.restart_weights == pytest.approx([1, 0.85355], abs=1e-5)
    restarted = read['plain_restarted']
    assert restarted.param_scheduler.periods == [6] and restarted.train_cfg.max_iters == 6
    assert restarted.param_scheduler.restart_weights == scheduler.restart_weights[1:]
    assert restarted.model == read['plain'].model and restarted.load_from == 'first.pth'
    joint = configs.spd_of(replace(spd, schedule='joint', overrides=()), tmp_path)
    assert joint['schedule']['type'] == 'JointSchedule'
    # Masks of restored images: of the student that is started from, in a folder of their own.
    restored = [replace(spd, masks='felzenszwalb_restored', seed=seed) for seed in (0, 1)]
    stores = [configs.spd_of(one, tmp_path, start='first.pth')['masks'] for one in restored] + [model.spd.masks]
    assert [store['source'] for store in stores] == ['restored', 'restored', 'gt']
    assert [store.get('restorer') for store in stores] == ['first.pth', 'first.pth', None]
    assert len({store['cache_dir'] for store in stores}) == 3 and stores[0]['segmenter'] == model.spd.masks.segmenter
    assert read['refiner'].model.spd.losses.sgr is None and read['refiner'].train_cfg.max_iters == 4
    assert read['spd'].train_dataloader.dataset.pipeline[3].gt_patch_size == 32
    sets = [loader.dataset.metainfo.dataset_type for loader in read['spd'].test_dataloader]
    assert sets[0] == 'noise_50' and len(sets) == len(read['spd'].test_evaluator) == 5
    assert {one.type for one in read['spd'].test_evaluator[0]} == {
        'mmsampriors.PSNRByImage',
        'SSIM',
        'mmsampriors.SegmentationConsistency',
    }


def test_photographs_without_ground_truth_are_kept_from_the_pairs_and_added_to_batches(photographs, tmp_path):
    preset = replace(TINY, unlabeled=3, start=0.5, bitmaps=True, sets=dict(denoise=['noise_50', 'noise_75']))
    prepare(tmp_path, Photographs(str(photographs / 'images'), str(photographs / 'segments')), preset.unlabeled)
    parts = {path.name: {photograph.stem for photograph in path.iterdir()} for path in tmp_path.glob('photographs/*')}
    assert {part: len(names) for part, names in parts.items()} == dict(train=2, unlabeled=1, held_out=1)
    assert len(set.union(*parts.values())) == 4
    folder = pairs_of(tmp_path, 'unlabeled', 'denoise', 'noise_75')
    bitmaps_of(folder, tmp_path / 'pairs' / preset.part('unlabeled') / 'noise_75')
    base = Training(preset, '', '', '', 0, '', 0, schedule='two_stage', unlabeled='noise_75')
    work = plan(
        replace(base, overrides=(('unlabeled.per_pair', 1.0), ('blend.end_weight', 0.5)), variant='half'),
        tasks=dict(denoise='noise_50'),
        models=['nafnet'],
        seeds=[0],
        students=['plain', 'self', 'spd'],
        masks=['human', 'felzenszwalb'],
    )
    hooks = {}
    for training in work:
        path = tmp_path / 'configs' / training.name / 'train.py'
        configs.write_training(path, training, tmp_path, load_from='first.pth')
        cfg = Config.fromfile(path)
        blends = [hook for hook in cfg.custom_hooks if hook.type == 'mmsampriors.BlendStudentHook']
        assert [hook.end_weight for hook in blends] == ([0.5] if training.distils else [])
        hooks[training.student, training.masks] = [hook for hook in cfg.custom_hooks if hook not in blends][-1]
        assert cfg.train_dataloader.dataset.data_root == str(tmp_path / 'pairs' / 'train_bitmaps' / 'noise_50')
        assert configs.test_sets(training) == ['noise_50', 'noise_75'] and training.first in (0, 4)
    assert hooks.pop(('plain', 'none')).type == 'mmsampriors.ExactResumeHook'
    assert {(hook.type, hook.per_pair) for hook in hooks.values()} == {('mmsampriors.UnlabeledHook', 1.0)}
    (theirs,) = {hook.folders[0] for hook in hooks.values()}
    (bitmap,) = Path(theirs).iterdir()
    assert (np.array(Image.open(bitmap)) == np.array(Image.open(folder / 'input' / f'{bitmap.stem}.png'))).all()
    assert hooks['self', 'none'].masks is None and hooks['spd', 'human'].masks.type == 'LabelMapMasks'
    stored = hooks['spd', 'felzenszwalb'].masks
    assert (stored.source, stored.restorer) == ('restored', 'first.pth')
    # The baseline without such photographs is another row.
    rows = [row('self', psnr=psnr, unlabeled=unlabeled) for psnr, unlabeled in ((30.0, ''), (30.4, 'rain_heavy'))]
    without, with_them = groups = comparison.groups_of([*rows, row()])[:2]
    assert comparison.baseline_of(with_them, groups, 'labelled') is without and 'rain_heavy' in with_them.title
    assert comparison.groups_of([{**row(), 'seed': 1}])[0].method[-1] == '', 'older rows know of none'


def test_super_resolution_has_its_scale_everywhere(photographs, tmp_path):
    for path in photographs.rglob('*.png'):  # of sizes that are no multiples of 4
        image = Image.open(path)
        image.crop((0, 0, image.width - 1, image.height - 2)).save(path)
    source = Photographs(str(photographs / 'images'), str(photographs / 'segments'))
    prepare(tmp_path, source, multiple=4)
    pairs = pairs_of(tmp_path, 'train', 'super_resolution', 'bicubic_4')
    for path in (pairs / 'target').iterdir():
        for kind in ('human', 'shuffled'):
            assert Image.open(tmp_path / 'segments' / kind / path.name).size == Image.open(path).size
    small, large = (Image.open(next(folder.iterdir())).size for folder in (pairs / 'input', pairs / 'target'))
    assert large == tuple(4 * side for side in small)
    base = Training(PRESETS['sr'], '', '', '', 0, '', 0, schedule='two_stage')
    tasks = dict(super_resolution=TRAINED_ON['super_resolution'])
    *_, training = plan(base, tasks=tasks, models=['edsr'], seeds=[0], students=['plain', 'spd'], masks=['human'])
    configs.write_training(tmp_path / 'train.py', training, tmp_path, load_from='first.pth')
    configs.write_test(tmp_path / 'test.py', training, tmp_path, tmp_path / 'images', 'held_out', 'none')
    cfg = Config.fromfile(tmp_path / 'test.py')
    _, _, values, crop, *_ = cfg.train_dataloader.dataset.pipeline
    assert values.dictionary.scale == cfg.model.generator.upscale_factor == 4 and crop.gt_patch_size == 96
    for metric in (*cfg.val_evaluator, *cfg.test_evaluator[0]):
        assert (metric.crop_border, metric.convert_to) == (4, 'Y'), metric.type
    assert MODELS.build(cfg.model).scale == 4


@pytest.mark.parametrize(
    'arguments, words',
    [
        (['--unlabeled', 'noise_75'], 'keeps photographs'),
        (['--out', 'o'], '--photographs'),
        (['--set', 'model.spd.losses.sgr=None'], '--variant'),
        (['--set', 'optim_wrapper.x=1', '--variant', 'x'], 'optim_wrapper.x'),
        (['--masks', 'human'], '--segments'),
        (['--masks', 'sam_tiny_restored', '--schedule', 'joint'], '--schedule two_stage'),
        (['--students', 'plain_restarted', '--schedule', 'joint'], 'plain_restarted restarts'),
        (['--test-on', 'eval'], '--eval-photographs'),
        (['--test-on', 'train', '--eval-photographs', 'e'], 'none of train'),
        (['--trained-on', 'snow'], 'snow'),
        (['--updates', '10'], 'multiple'),
    ],
)
def test_a_wrong_command_line_is_refused_at_once(arguments, words, monkeypatch, capsys):
    needed = [] if '--out' in arguments else ['--out', 'o', '--photographs', 'p']
    monkeypatch.setattr('sys.argv', ['evidence.py', *needed, *arguments])
    with pytest.raises(SystemExit):
        evidence.parse_args()
    assert words in capsys.readouterr().err


@pytest.mark.slow
def test_every_path_and_the_way_back(photographs, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(PRESETS, 'cpu', TINY)
    monkeypatch.setenv('OMP_NUM_THREADS', '1')

    def call(*arguments):
        monkeypatch.setattr('sys.argv', ['evidence.py', *map(str, arguments)])
        evidence.main()
        init_default_scope('mmagic')
        return capsys.readouterr().out

    common = [
        '--out',
        tmp_path / 'out',
        '--photographs',
        photographs / 'images',
        '--segments',
        photographs / 'segments',
        '--tasks',
        'denoise',
        '--seeds',
        0,
    ]
    # Timings need trainings of their own; what is made of them is tested above.
    monkeypatch.setattr(Runs, 'cost_ratio', lambda *_: 2.0)
    students = ['--students', 'plain', 'spd', 'plain_same_time']
    distilled = [*common, *students, '--schedule', 'two_stage', '--masks', 'human', 'felzenszwalb_restored']
    call(*distilled)
    rows = {
        (one['student'], one['masks'], one['test_set']): one for one in read_rows(tmp_path / 'out' / 'results.json')
    }
    assert len(rows) == 20 and {key[:2] for key in rows} == {
        ('plain', 'none'),
        ('spd', 'human'),
        ('spd', 'felzenszwalb_restored'),
        ('plain_same_time', 'human'),
    }
    spd, baseline = (rows[student, 'human', 'noise_50'] for student in ('spd', 'plain_same_time'))
    assert spd['iters'] == 12 and spd['refined_psnr'] > 0 and 0 < spd['segmentation'] < 1 and spd['border_psnr'] > 0
    assert baseline['iters'] == 16 and baseline['cost_ratio'] == 2 and baseline['refined_psnr'] is None
    assert [len(spd[name]) for name in ('images', 'refined_images', 'image_masks')] == [1, 1, 1] and spd['curve']
    # What is there is not done again.
    before = (tmp_path / 'out' / 'results.json').read_bytes()
    monkeypatch.setattr(Runs, 'carry_out', lambda *_: pytest.fail('done already'))
    call(*distilled)
    (tmp_path / 'out' / 'table.md').unlink()
    assert 'table.md' in call('--report', tmp_path / 'out')
    assert (tmp_path / 'out' / 'results.json').read_bytes() == before and (tmp_path / 'out' / 'table.md').is_file()

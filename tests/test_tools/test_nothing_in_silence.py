"""What was once accepted in silence, tried with the real tools."""

import json
import os
import shutil
import socket
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
import skimage.data
import torch
from PIL import Image
from tool_processes import run_as_process, started_process

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.slow

CONFIG = """
_base_ = ['mmagic::nafnet/nafnet_c64eb11128mb1db1111_8xb8-lr1e-3-400k_gopro.py', 'mmsampriors::_base_/spd.py']
model = dict(
    type='mmsampriors.SPDModel',
    spd={**_base_.spd, 'masks': dict(type='FelzenszwalbMasks'), 'feature_extractor': None,
        'losses': dict(spd=_base_.spd.losses.spd)},
    generator=dict(type='NAFNet', mid_channels=4, enc_blk_nums=[1], dec_blk_nums=[1], middle_blk_num=1))
custom_hooks = _base_.get('custom_hooks', []) + _base_.spd_hooks
train_pipeline = [
    dict(type='LoadImageFromFile', key='img'),
    dict(type='LoadImageFromFile', key='gt'),
    dict(type='SetValues', dictionary=dict(scale=1)),
    dict(type='PairedRandomCrop', gt_patch_size=32),
    dict(type='PackInputs')]
pairs = dict(data_root='PAIRS', data_prefix=dict(img='input', gt='target'))
train_dataloader = dict(num_workers=0, batch_size=1, dataset=dict(pipeline=train_pipeline, **pairs))
val_dataloader = dict(num_workers=0, dataset=pairs)
test_dataloader = val_dataloader
val_evaluator = test_evaluator = [dict(type='PSNR')]
train_cfg = dict(max_iters=8, val_interval=8)
default_hooks = dict(logger=dict(interval=1), checkpoint=dict(interval=4, save_best=None))
"""


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """A user's folder with a config and three pairs; its path has white space."""
    folder = tmp_path_factory.mktemp('a user')
    (folder / 'config.py').write_text(CONFIG.replace('PAIRS', str(folder / 'pairs')))
    rng = np.random.default_rng(0)
    for index, image in enumerate((skimage.data.chelsea(), skimage.data.coffee(), skimage.data.astronaut())):
        target = image[100:164, 150:230]
        lq = np.clip(target + rng.normal(0, 5 + 20 * index, target.shape), 0, 255).astype(np.uint8)
        for kind, pixels in (('input', lq), ('target', target)):
            (folder / 'pairs' / kind).mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(folder / 'pairs' / kind / f'{index}.png')
    return folder


@pytest.fixture
def pairs(folder, tmp_path):
    """A copy of the pairs, to be spoilt."""
    return Path(shutil.copytree(folder / 'pairs', tmp_path / 'spoilt pairs'))


def run(folder, name, *arguments):
    """Runs a tool of the checkout; gives its exit status and what it printed."""
    path = os.pathsep.join(filter(None, [str(folder), os.environ.get('PYTHONPATH')]))  # for modules of the user's own
    env = dict(PYTHONWARNINGS='ignore', PYTHONPATH=path)
    done = run_as_process([f'tools/{name}', *arguments], cwd=folder, env=env)
    return done.returncode, done.stdout + done.stderr


def refused(folder, name, *arguments):
    """Runs a tool that must fail; gives what it printed."""
    status, printed = run(folder, name, *arguments)
    assert status, printed[-3000:]
    return printed


def on(pairs):
    """Options that take other pairs."""
    return [f'{loader}_dataloader.dataset.data_root={pairs}' for loader in ('train', 'val')]


@pytest.fixture(scope='module')
def trained(folder):
    """The log of a short training, and its checkpoint."""
    shutil.copytree(folder / 'pairs', folder / 'more pairs')
    # mmagic's GoPro config lists the targets, so that it is an input that nothing asks for.
    shutil.copy(folder / 'pairs' / 'input' / '0.png', folder / 'more pairs' / 'input' / 'alone.png')
    status, log = run(folder, 'train.py', 'config.py', '--work-dir', 'run', '--cfg-options', *on(folder / 'more pairs'))
    assert not status, log[-3000:]
    return log, folder / 'run' / 'iter_8.pth'


def test_a_path_with_white_space_a_wrong_length_and_unused_images(folder, trained):
    log, checkpoint = trained
    assert checkpoint.is_file() and (folder / 'run' / 'checked_images.json').is_file()
    assert "1 of the 'img' images" in log and 'alone.png' in log
    assert (
        'laid out for 400000 iterations, and train_cfg.max_iters is 8' in log and 'set param_scheduler.T_max=8' in log
    )


@pytest.mark.parametrize('tool', ['test.py', 'export_student.py'])
@pytest.mark.parametrize('kind', ['width', 'single', 'nan'])
def test_a_checkpoint_that_does_not_fit_is_refused(folder, trained, tmp_path, tool, kind):
    whole = torch.load(trained[1], weights_only=True)
    state = {key: value for key, value in whole['state_dict'].items() if key.startswith('generator.')}
    first = 'generator.intro.weight'
    if kind == 'width':
        state[first] = state[first].repeat(2, 1, 1, 1)
    elif kind == 'single':
        del state[first]
    else:
        state[first] = torch.full_like(state[first], float('nan'))
    torch.save(dict(state_dict=state), tmp_path / 'bad.pth')
    out = [tmp_path / 'out.pth'] if tool == 'export_student.py' else ['--work-dir', tmp_path / 'test']
    printed = refused(folder, tool, 'config.py', tmp_path / 'bad.pth', *out)
    assert 'the checkpoint does not fit the model' in printed and f'(first: {first}' in printed
    assert not (tmp_path / 'out.pth').exists() and not (tmp_path / 'test' / 'test_results.json').exists()
    if kind == 'single':
        status, printed = run(folder, tool, 'config.py', tmp_path / 'bad.pth', *out, '--allow-partial')
        assert not status, printed[-3000:]


@pytest.mark.parametrize(
    'out, message', [('metrics.csv', '--out is a file of .json'), ('config.py/metrics.json', 'config.py')]
)
def test_where_nothing_can_be_written_is_refused_before_the_test(folder, out, message):
    (folder / 'empty.pth').touch()
    printed = refused(folder, 'test.py', 'config.py', 'empty.pth', '--out', out)
    assert message in printed and 'the checkpoint' not in printed
    printed = refused(folder, 'test.py', 'empty.pth', 'config.py')
    assert 'the config comes first, a checkpoint after it' in printed


@pytest.mark.parametrize(
    'option, message',
    [
        ('val_evaluator.0.crop_border=40', 'metrics of its evaluator need 81 pixels a side'),
        ('model.init_cfg.checkpoint=no.pth', 'model.init_cfg.checkpoint: there is no checkpoint no.pth'),
        ('custom_hooks.0.momentum=2', 'custom_hooks.0 cannot be built: AssertionError: momentum must be in range'),
        ('auto_scale_lr.enable=True', 'needs the total batch that the learning rate was set for'),
    ],
)
def test_the_check_refuses_what_a_training_refuses(folder, option, message):
    (folder / 'more.py').write_text(
        "_base_ = 'config.py'\nauto_scale_lr = dict(enable=False)\n"
        "model = dict(init_cfg=dict(type='Pretrained', checkpoint=''))\n"
        "custom_hooks = [dict(type='EMAHook', momentum=0.1)] + _base_.custom_hooks\n"
    )
    for more in ([], ['--check']):
        printed = refused(folder, 'train.py', 'more.py', '--work-dir', 'never', *more, '--cfg-options', option)
        assert message in printed and 'Traceback' not in printed
    assert not (folder / 'never' / '20').exists() and not list((folder / 'never').glob('*/*.log'))


def test_exif_on_targets_alone_is_refused(folder, pairs, tmp_path):
    for kind in ('input', 'target'):
        for path in (pairs / kind).glob('*.png'):
            exif = Image.Exif()
            exif[0x0112] = 3
            with Image.open(path) as image:
                image.save(path.with_suffix('.jpg'), quality=95, **(dict(exif=exif) if kind == 'target' else {}))
            path.unlink()
    printed = refused(folder, 'train.py', 'config.py', '--work-dir', tmp_path / 'work', '--cfg-options', *on(pairs))
    assert printed.count('only when one is rotated by 180 degrees') >= 3 and 'EXIF' in printed


def test_damaged_files_and_missing_label_maps_are_listed_and_named(folder, pairs, tmp_path):
    damaged = pairs / 'input' / '0.png'
    content = bytearray(damaged.read_bytes())
    content[len(content) // 2] ^= 0xFF
    damaged.write_bytes(content)
    (tmp_path / 'maps').mkdir()
    for name in ('0', '2'):
        Image.fromarray(np.zeros((64, 80), np.uint8)).save(tmp_path / 'maps' / f'{name}.png')
    options = [
        *on(pairs),
        'model.spd.masks.type=LabelMapMasks',
        f'model.spd.masks.folder={tmp_path / "maps"}',
    ]
    printed = refused(folder, 'train.py', 'config.py', '--work-dir', tmp_path / 'work', '--cfg-options', *options)
    assert f'- {damaged} cannot be' in printed and f'{tmp_path / "maps" / "1.png"} is absent' in printed
    assert 'Iter(train)' not in printed
    printed = refused(
        folder, 'train.py', 'config.py', '--no-check', '--work-dir', tmp_path / 'work', '--cfg-options', *on(pairs)
    )
    assert str(damaged) in printed and 'cannot be loaded (' in printed


@pytest.mark.parametrize(
    'options, message',
    [
        (['model.spd.losses.spd.loss_weight=-1'], 'SPDLoss.loss_weight must be a number of at least 0'),
        (['optim_wraper.optimizer.lr=1'], 'Is optim_wrapper meant'),
        (['train_pipeline.3.gt_patch_size=16'], 'set train_dataloader.dataset.pipeline.3.gt_patch_size instead'),
        (['train_cfg.max_iters=1', 'train_cfg.val_interval=1'], 'in none of the 1 iterations would the student learn'),
        (['data_root=/my', 'photographs'], "takes KEY=VALUE, found 'photographs'"),
    ],
)
def test_settings_without_effect_are_refused(folder, tmp_path, options, message):
    assert message in refused(folder, 'train.py', 'config.py', '--work-dir', tmp_path, '--cfg-options', *options)


def test_the_check_refuses_what_training_refuses(folder, tmp_path):
    options = ['load_from=/nope.pth', 'optim_wrapper.optimizer.betaz=1', 'train_cfg.val_interval=0']
    for mode in (['--check'], []):
        printed = refused(folder, 'train.py', 'config.py', *mode, '--work-dir', tmp_path, '--cfg-options', *options)
        assert "the key 'betaz', which AdamW does not take (is betas meant?)" in printed
        assert 'train_cfg.val_interval must be greater than 0' in printed
        assert ('there is no checkpoint /nope.pth' in printed) == bool(mode)  # a training ends with the first error
    assert not list(tmp_path.rglob('*.masks'))


def test_what_cannot_be_resumed_is_refused(folder, trained, tmp_path):
    assert 'nothing to resume' in refused(folder, 'train.py', 'config.py', '--resume', '--work-dir', tmp_path / 'new')
    options = ['model.generator.mid_channels=8', 'model.spd.schedule.type=JointSchedule']
    printed = refused(folder, 'train.py', 'config.py', '--resume', '--work-dir', 'run', '--cfg-options', *options)
    assert 'model.generator.mid_channels was 4 and is 8' in printed
    assert "model.spd.schedule.type was 'TwoStageSchedule' and is 'JointSchedule'" in printed


def test_a_run_that_began_with_a_checkpoint_goes_on_from_its_own(folder, trained, tmp_path):
    """The one that it began with is that of a training that is over."""
    command = ['train.py', 'config.py', '--no-check', '--work-dir', tmp_path / 'run']
    options = ['--cfg-options', f'load_from={trained[1]}']
    status, log = run(folder, *command, *options)
    assert not status, log[-3000:]
    (tmp_path / 'run' / 'last_checkpoint').write_text(str(tmp_path / 'run' / 'iter_4.pth'))
    status, log = run(folder, *command, '--resume', *options)
    assert not status, log[-3000:]
    assert 'resumed epoch: 0, iter: 4' in log and 'Iter(train) [8/8]' in log


SLOW_CHECK = """
import os, runpy, sys, time
from datetime import timedelta
import torch.distributed as dist
from mmsampriors.checks import pair_check

join, check = dist.init_process_group, pair_check.check_data

def check_slowly(*args, **kwargs):
    time.sleep(20 * (os.environ['RANK'] == '0'))
    check(*args, **kwargs)

dist.init_process_group = lambda backend: join(backend, timeout=timedelta(seconds=10))
pair_check.check_data = check_slowly
runpy.run_path('TRAIN', run_name='__main__')
"""


def test_a_check_that_takes_longer_than_a_collective_may_does_not_end_the_run(folder, tmp_path):
    script = tmp_path / 'slow_check.py'
    script.write_text(SLOW_CHECK.replace('TRAIN', str(ROOT / 'tools' / 'train.py')))
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        port = probe.getsockname()[1]
    command = [script, 'config.py', '--launcher', 'pytorch', '--work-dir', tmp_path / 'run']
    group = dict(MASTER_ADDR='127.0.0.1', MASTER_PORT=str(port), WORLD_SIZE='2', PYTHONWARNINGS='ignore')
    with ExitStack() as stack:
        ranks = [
            stack.enter_context(
                started_process(command, cwd=folder, env=dict(group, RANK=str(rank), LOCAL_RANK=str(rank)))
            )
            for rank in range(2)
        ]
        for process, printed in ranks:
            process.join(200)
            assert process.exitcode == 0, printed[1].read_text()[-2000:]
    assert (tmp_path / 'run' / 'student.pth').is_file()


def test_two_processes_count_each_of_three_images_once(folder, trained):
    """The checkpoint is validated after one more iteration, by one process and by two."""
    config = folder / 'once.py'
    config.write_text(
        "_base_ = 'config.py'\nmodel = dict(spd=dict(schedule=dict(type='JointSchedule')))\n"
        'train_cfg = dict(max_iters=2, val_interval=2)\n'
        "optim_wrapper = dict(optimizer=dict(_delete_=True, type='SGD', lr=1e-30))\nparam_scheduler = None\n"
        f'load_from = {str(trained[1])!r}\n'
    )
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        port = probe.getsockname()[1]
    results = []
    for processes in (1, 2):
        launch = ['-m', 'torch.distributed.run', f'--nproc_per_node={processes}', f'--master_port={port}']
        command = [sys.executable, *launch, ROOT / 'tools' / 'train.py', config, '--launcher', 'pytorch']
        environment = {**os.environ, 'OMP_NUM_THREADS': '1', 'CUDA_VISIBLE_DEVICES': '-1', 'PYTHONWARNINGS': 'ignore'}
        work = folder / f'once_{processes}'
        done = subprocess.run(
            list(map(str, [*command, '--work-dir', work])),
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=900,
        )
        assert not done.returncode, done.stderr[-3000:]
        (scalars,) = work.glob('*/vis_data/scalars.json')
        rows = [json.loads(line) for line in scalars.read_text().splitlines()]
        results.append(next(row for row in rows if 'refined/PSNR' in row))
    one, two = results
    for name in ('PSNR', 'refined/PSNR', 'refined/PSNR_gain'):
        assert two[name] == pytest.approx(one[name], abs=1e-3)
    assert two['refined/PSNR_gain'] == pytest.approx(two['refined/PSNR'] - two['PSNR'], abs=1e-3)


@pytest.fixture
def disk(tmp_path):
    """A function that mounts a small disk of its own, and gives its folder."""
    mounted = []

    def mount(options):
        folder = tmp_path / 'a disk'
        folder.mkdir(exist_ok=True)
        command = ['mount', '-t', 'tmpfs', '-o', options, 'tmpfs', folder]
        if shutil.which('mount') is None or subprocess.run(command).returncode:
            pytest.skip('this user may mount no disk')
        mounted.append(folder)
        return folder

    yield mount
    for folder in mounted:
        subprocess.run(['umount', folder], check=True)


@pytest.mark.parametrize(
    'options, message', [('ro,size=1m', 'Read-only file system'), ('size=1m,nr_inodes=3', 'No space left on device')]
)
def test_a_disk_that_takes_no_masks_is_named(folder, disk, options, message):
    """One that is read-only, and one that is full after the first masks."""
    cache = disk(options)
    (folder / 'cached.py').write_text(f"_base_ = 'config.py'\n{cached_masks(cache)}")
    printed = refused(folder, 'cache_masks.py', 'cached.py')
    assert message in printed and str(cache) in printed and 'cache_dir' in printed
    assert 'Traceback' not in printed


def cached_masks(cache):
    """The lines of a config that keep masks in a folder."""
    segmenter = "dict(type='FelzenszwalbMasks', min_size=20)"
    return f"model = dict(spd=dict(masks=dict(type='CachedMasks', segmenter={segmenter}, cache_dir={str(cache)!r})))\n"

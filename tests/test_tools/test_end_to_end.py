"""The real tools as processes: train, be killed, resume, test, export, load in stock mmagic, two processes."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import skimage.data
import torch
from PIL import Image
from tool_processes import run_as_process

from mmsampriors.data_preparation.degradations import BlurSettings, add_blur
from mmsampriors.data_preparation.pairs import make_pairs

ROOT = Path(__file__).resolve().parents[2]

CONFIG = """
_base_ = ['mmagic::nafnet/nafnet_c64eb11128mb1db1111_8xb8-lr1e-3-400k_gopro.py', 'mmsampriors::_base_/spd.py']
model = dict(
    type='mmsampriors.SPDModel', spd=_base_.spd,
    generator=dict(type='NAFNet', mid_channels=4, enc_blk_nums=[1], dec_blk_nums=[1], middle_blk_num=1))
custom_hooks = _base_.get('custom_hooks', []) + _base_.spd_hooks
train_pipeline = [
    dict(type='LoadImageFromFile', key='img'),
    dict(type='LoadImageFromFile', key='gt'),
    dict(type='SetValues', dictionary=dict(scale=1)),
    dict(type='Flip', keys=['img', 'gt'], flip_ratio=0.5, direction='horizontal'),
    dict(type='PairedRandomCrop', gt_patch_size=32),
    dict(type='PackInputs')]
pairs = dict(data_root='pairs', data_prefix=dict(img='input', gt='target'))
train_dataloader = dict(num_workers=0, batch_size=2, dataset=dict(pipeline=train_pipeline, **pairs))
val_dataloader = dict(num_workers=0, dataset=pairs)
test_dataloader = val_dataloader
train_cfg = dict(max_iters=400, val_interval=400)
default_hooks = dict(
    logger=dict(interval=5), checkpoint=dict(interval=5, max_keep_ckpts=3, save_best='PSNR', rule='greater'))
"""


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """An empty folder with a user's config and pairs."""
    folder = tmp_path_factory.mktemp('user')
    (folder / 'config.py').write_text(CONFIG)
    rng = np.random.default_rng(0)
    for index, image in enumerate((skimage.data.chelsea(), skimage.data.coffee())):
        target = image[100:164, 150:230]
        lq = np.clip(target + rng.normal(0, 20, target.shape), 0, 255).astype(np.uint8)
        for kind, pixels in (('input', lq), ('target', target)):
            (folder / 'pairs' / kind).mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(folder / 'pairs' / kind / f'{index}.png')
    return folder


def environment():
    return {**os.environ, 'OMP_NUM_THREADS': '1', 'CUDA_VISIBLE_DEVICES': '-1', 'PYTHONWARNINGS': 'ignore'}


def call(folder, *arguments):
    """Runs a command in the user's folder and returns what it printed."""
    done = subprocess.run(
        list(map(str, arguments)), cwd=folder, env=environment(), capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout + done.stderr


def tool(folder, name, *arguments):
    """The same with a copy of a process that has imported mmagic."""
    done = run_as_process([f'tools/{name}', *arguments], cwd=folder, env=dict(PYTHONWARNINGS='ignore'))
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout + done.stderr


@pytest.fixture(scope='module')
def trained(folder):
    """A run that was killed with SIGKILL after a checkpoint, then resumed to its end."""
    run = subprocess.Popen(
        [sys.executable, ROOT / 'tools' / 'train.py', 'config.py', '--work-dir', 'run'],
        cwd=folder,
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    last, deadline = folder / 'run' / 'last_checkpoint', time.time() + 300
    while not last.exists() and run.poll() is None and time.time() < deadline:
        time.sleep(0.05)
    run.send_signal(signal.SIGKILL)
    assert last.exists(), run.stderr.read().decode()[-3000:]
    run.stderr.close()
    run.wait()
    assert not (folder / 'run' / 'student.pth').exists()
    reached = int(Path(last.read_text()).stem.split('_')[1])
    steps = reached + 7
    log = tool(
        folder,
        'train.py',
        'config.py',
        '--work-dir',
        'run',
        '--resume',
        '--cfg-options',
        f'train_cfg.max_iters={steps}',
        f'train_cfg.val_interval={steps}',
    )
    assert f'resumed epoch: 0, iter: {reached}' in log
    return folder / 'run' / f'iter_{steps}.pth', log


def test_a_killed_run_resumes_and_exports(trained):
    checkpoint, log = trained
    assert checkpoint.exists()
    for name in ('student.loss_recon', 'spd.weight', 'grad.student'):
        assert name in log
    student = torch.load(checkpoint.parent / 'student.pth', weights_only=True)['state_dict']
    whole = torch.load(checkpoint, weights_only=True)['state_dict']
    assert {key.split('.')[0] for key in whole} == {'generator', 'refiner', 'spf', 'initial_student', 'losses'}
    assert student.keys() == {key for key in whole if key.startswith('generator.')}
    assert all(torch.equal(value, whole[key]) for key, value in student.items())
    assert list(checkpoint.parent.glob('student_best_PSNR_iter_*.pth'))
    assert list(checkpoint.parent.glob('*/vis_data/vis_image/spd_*.png'))


def test_export_tool_writes_what_the_hook_wrote(folder, trained):
    tool(folder, 'export_student.py', 'config.py', trained[0], 'out/student.pth')
    ours, theirs = (
        torch.load(folder / path, weights_only=True)['state_dict'] for path in ('out/student.pth', 'run/student.pth')
    )
    assert ours.keys() == theirs.keys() and all(torch.equal(ours[key], theirs[key]) for key in ours)


TWO_SETS = """
_base_ = ['config.py', 'mmsampriors::_base_/robustness.py']
segments = dict(type='mmsampriors.SegmentationConsistency', masks=dict(type='FelzenszwalbMasks'), prefix='blur')
train_dataloader = dict(dataset=dict(data_root='not_here'))  # tests need no training set
test_dataloader = [_base_.test_dataloader, _base_.robustness.deblur.dataloaders[0]]
test_evaluator = [[dict(type='PSNR')], [*_base_.robustness.deblur.evaluators[0], segments]]
"""


def test_student_and_refined_are_tested_on_all_sets(folder, trained):
    (folder / 'two_sets.py').write_text(TWO_SETS)
    make_pairs(folder / 'pairs' / 'target', folder / 'data' / 'robustness' / 'blur', add_blur, BlurSettings(length=10))
    printed = tool(
        folder, 'test.py', 'two_sets.py', trained[0], '--refined', '--work-dir', 'test', '--out', 'metrics.json'
    )
    results = json.loads((folder / 'test/test_results.json').read_text())['results']
    assert list(results) == ['student', 'refined'] and all(list(sets) == ['pairs', 'blur'] for sets in results.values())
    assert {'PSNR', 'SSIM', 'SegIoU', 'Masks_gt'} < set(results['student']['blur'])
    assert results['student']['blur']['PSNR'] != results['refined']['blur']['PSNR']
    flat = json.loads((folder / 'metrics.json').read_text())
    assert flat['PSNR'] == results['student']['pairs']['PSNR']
    assert flat['refined/blur/SegIoU'] == results['refined']['blur']['SegIoU']
    table = printed[printed.index('test set  ') :].splitlines()
    assert table[2].split()[:3] == ['pairs', 'student', f'{flat["PSNR"]:.2f}']
    assert table[5].split()[:2] == ['blur', 'refined']
    assert len((folder / 'test/test_results.csv').read_text().splitlines()) == 5


STOCK = """
import sys
import mmsampriors.compat
import numpy as np
import torch
from mmagic.apis import MMagicInferencer
from mmagic.registry import MODELS
from mmengine.config import Config

inferencer = MMagicInferencer(model_name='nafnet', model_config='run/student.py', model_ckpt='run/student.pth')
inferencer.infer(img='pairs/input/0.png', result_out_dir='restored/0.png')
model = MODELS.build(Config.fromfile('run/student.py').model)
assert type(model).__name__ == 'BaseEditModel'
model.load_state_dict(torch.load('run/student.pth', weights_only=True)['state_dict'], strict=True)
with torch.no_grad():
    np.save('stock.npy', model.eval()(torch.linspace(0, 1, 3 * 33 * 47).view(1, 3, 33, 47)).numpy())
ours = [name for name in sys.modules if name.startswith('mmsampriors')]
assert not [name for name in ours if name.split('.')[1:2] in (['engine'], ['models'], ['masks'], ['registry'])], ours
"""


def test_stock_mmagic_runs_the_student_bit_for_bit(folder, trained):
    from mmengine.config import Config

    from mmsampriors.registry import MODELS

    call(folder, sys.executable, '-c', f'import sys; sys.path.insert(0, {str(ROOT)!r})\n{STOCK}')
    assert Image.open(folder / 'restored' / '0.png').size == (80, 64)
    model = MODELS.build(Config.fromfile(str(folder / 'config.py')).model).eval()
    model.load_state_dict(torch.load(trained[0], weights_only=True)['state_dict'], strict=True)
    with torch.no_grad():
        ours = model(torch.linspace(0, 1, 3 * 33 * 47).view(1, 3, 33, 47)).numpy()
    assert np.array_equal(ours, np.load(folder / 'stock.npy'))


TWO_STAGES = """
_base_ = 'config.py'
model = dict(spd=dict(schedule=dict(_delete_=True, type='TwoStageSchedule', refiner=0.5)))
train_cfg = dict(max_iters=6, val_interval=6)
segments = dict(type='mmsampriors.SegmentationConsistency', masks=dict(type='FelzenszwalbMasks'))
val_evaluator = [dict(type='PSNR'), segments]
"""


def test_two_processes_train_both_stages_on_the_cpu_in_mixed_precision(folder):
    (folder / 'two_stages.py').write_text(TWO_STAGES)
    path = f'PATH={Path(sys.executable).parent}:{os.environ["PATH"]}'
    script = ROOT / 'tools' / 'dist_train.sh'
    log = call(
        folder, 'env', path, f'PORT={free_port()}', 'bash', script, 'two_stages.py', 2, '--work-dir', 'dist', '--amp'
    )
    assert 'SegIoU: 0.' in log and any('GPU number: 2' in path.read_text() for path in folder.rglob('*.log'))
    assert log.index('from iteration 0 on: refiner') < log.index('from iteration 3 on: student')
    state = torch.load(folder / 'dist' / 'iter_6.pth', weights_only=True)
    trained = state['optimizer']['state']
    # One step count for each of the student's weights, three iterations; nothing is kept for what trains no more.
    assert {int(entry['step']) for entry in trained.values()} == {3}
    assert len(trained) == sum(name.startswith('generator.') for name in state['state_dict'])


def free_port():
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        return probe.getsockname()[1]


def test_errors_of_a_config_come_before_any_data(folder):
    for option, message in (
        ('spd.losses.spd.loss_weight=0.9', 'has no effect'),
        ('model.spd.masks=', 'model.spd.masks is empty'),
        ('model.spd.mask=1', "unknown keys ['mask']"),
    ):
        command = ['tools/train.py', 'config.py', '--work-dir', 'bad', '--cfg-options', option]
        done = run_as_process(command, cwd=folder, env=dict(PYTHONWARNINGS='ignore'))
        assert done.returncode and message in done.stderr, done.stderr[-2000:]
    assert not (folder / 'bad').exists()

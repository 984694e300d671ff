"""tools/cache_masks.py as users start it."""

import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tool_processes import run_as_process

from mmsampriors.masks import CocoRLE

TOOL = str(Path(__file__).resolve().parents[2] / 'tools' / 'cache_masks.py')

SOURCES = """
import torch
from mmagic.registry import MODELS
from mmsampriors.masks import ImageMasks
from mmsampriors.models.mask_sources import StoredMaskSource

@MODELS.register_module()
class BrightMasks(StoredMaskSource):
    def __init__(self, cache_dir, source='gt'):
        super().__init__()
        self.cache_dir, self.source, self.segmenter = cache_dir, source, self

    def store(self, data_root):
        return dict(type='MaskCache', cache_dir=self.cache_dir, settings=dict(source=self.source), data_root=data_root)

    def segment(self, images):
        return [ImageMasks.from_masks(image > 0.5) for image in images]

@MODELS.register_module()
class OnlineMasks:
    stored = False
"""

CONFIG = """
custom_imports = dict(imports=['cache_masks_sources', 'mmsampriors.datasets.transforms'], allow_failed_imports=False)
model = dict(type='mmsampriors.SPDModel', spd=dict(masks=dict(type='BrightMasks', cache_dir='cache')))
noise = dict(type='RandomNoise', keys=['img'], params=dict(noise_type=['gaussian'], noise_prob=[1],
             gaussian_sigma=[50, 50], gaussian_gray_noise_prob=0))
pipeline = [dict(type='LoadImageFromFile', key='img'), dict(type='LoadImageFromFile', key='gt'),
            dict(type='Flip', keys=['img', 'gt']), dict(type='PackInputs')]
train_dataloader = dict(dataset=dict(type='BasicImageDataset', data_root='data',
                                     data_prefix=dict(img='img', gt='gt'), pipeline=pipeline))
"""


@pytest.fixture
def folder(tmp_path):
    for name in ('img', 'gt'):
        rng = np.random.default_rng(0)  # the same scenes
        (tmp_path / 'data' / name).mkdir(parents=True)
        for index in range(7):
            pixels = rng.integers(0, 255, (12, 17, 3), np.uint8)
            Image.fromarray(pixels).save(tmp_path / 'data' / name / f'{index}.png')
    (tmp_path / 'cache_masks_sources.py').write_text(SOURCES)
    (tmp_path / 'config.py').write_text(CONFIG)
    (tmp_path / 'noisy.py').write_text(CONFIG.replace("dict(type='PackInputs')", "noise, dict(type='PackInputs')"))
    (tmp_path / 'plain.py').write_text(CONFIG.replace('spd=dict(masks=dict', 'generator=dict(unused=dict'))
    return tmp_path


@pytest.fixture
def run(folder, monkeypatch, capsys):
    """Runs the tool in this process, where mmagic is imported already, and gives the last line that it prints."""
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(folder)

    def run_here(*arguments, **environment):
        with monkeypatch.context() as patch:
            patch.setattr(sys, 'argv', ['cache_masks.py', *arguments])
            for name, value in environment.items():
                patch.setenv(name, value)
            runpy.run_path(TOOL, run_name='__main__')
        return capsys.readouterr().out.strip().splitlines()[-1]

    return run_here


def test_shards_and_torchrun_share_the_work_and_a_second_run_finds_it_done(folder, run):
    # the first process of the second shard is alone at first, and does what the other one would
    for shard, rank, size, had, count in [('0/2', 0, 1, 0, 4), ('1/2', 0, 2, 0, 3), ('1/2', 1, 2, 1, 0)]:
        line = run(
            'config.py',
            '--shard',
            shard,
            '--device',
            'cpu',
            '--batch-size',
            '2',
            RANK=str(rank),
            WORLD_SIZE=str(size),
            LOCAL_RANK=str(rank),
        )
        assert line == f'{had} images had their masks, {count} got them now'
    assert len(list((folder / 'cache').rglob('*.masks'))) == 7
    assert run('config.py') == '7 images had their masks, 0 got them now'


def test_export(folder, run):
    pytest.importorskip('pycocotools')
    assert run('config.py', '--export', 'coco', 'out') == '7 files of masks written to out'
    masks = CocoRLE('out').load('data/gt/3.png')
    pixels = np.array(Image.open('data/gt/3.png')).transpose(2, 0, 1) / 255
    assert sorted(masks.areas.tolist()) == sorted((pixels > 0.5).sum((1, 2)).tolist())
    assert run('config.py', '--export', 'coco', 'out') == '7 files of masks written to out'
    with pytest.raises(SystemExit):
        run('config.py', '--export', 'coco', 'out', '--shard', '0/2')
    with pytest.raises(SystemExit):
        run('config.py', '--export', 'png', 'out')


def test_an_export_replaces_nothing_of_others(folder):
    """It says so before masks are computed."""
    (folder / 'out').mkdir()
    (folder / 'out' / '3.json').write_text('mine')
    done = run_as_process([TOOL, 'config.py', '--export', 'coco', 'out'], cwd=folder, env=dict(PYTHONPATH=str(folder)))
    assert done.returncode == 1 and 'error: out/3.json would be replaced' in done.stderr, done.stderr
    assert (folder / 'out' / '3.json').read_text() == 'mine' and not (folder / 'cache').exists()


def test_from_the_command_line(folder):
    result = run_as_process([TOOL, 'config.py'], cwd=folder, env=dict(PYTHONPATH=str(folder)))
    assert result.returncode == 0, result.stderr
    assert result.stdout.endswith('0 images had their masks, 7 got them now\n')
    assert '7 of 7 image' in result.stderr


@pytest.mark.parametrize(
    'arguments, message',
    [
        (
            ['config.py', '--cfg-options', 'model.spd.masks.type=OnlineMasks'],
            'model.spd.masks is OnlineMasks, which stores nothing',
        ),
        (
            ['noisy.py', '--cfg-options', 'model.spd.masks.source=lq'],
            "masks of source 'lq' cannot be stored",
        ),
        (['plain.py'], r'plain\.py has no model\.spd'),
        (['config.py', '--shard', '2/2'], '2'),
        (['config.py', '--batch-size', '-4'], '2'),
        (['config.py', '--batch-size', '0'], '2'),
        (['config.py', '--cfg-options', 'train_dataloader.dataset.img_sufix=.png'], 'is img_suffix meant'),
    ],
)
def test_what_cannot_be_stored_is_refused(folder, run, arguments, message):
    with pytest.raises(SystemExit, match=message):
        run(*arguments)
    assert not (folder / 'cache').exists()

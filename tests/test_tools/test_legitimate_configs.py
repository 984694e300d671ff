"""What a user may well have, and each tool takes: other kinds of configs, lists and names."""

import os
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

sys.path.insert(0, str(Path(__file__).parent))

from test_nothing_in_silence import CONFIG, run

pytestmark = pytest.mark.slow

SHORT = """
train_cfg = dict(max_iters=2, val_interval=2)
default_hooks = dict(checkpoint=dict(interval=2))
"""
PLAIN = """
_base_ = ['mmagic::nafnet/nafnet_c64eb11128mb1db1111_8xb8-lr1e-3-400k_gopro.py']
custom_hooks = None
model = dict(generator=dict(mid_channels=4, enc_blk_nums=[1], dec_blk_nums=[1]))
"""
STORED = "dict(type='CachedMasks', source='gt', segmenter=dict(type='FelzenszwalbMasks'), cache_dir='masks')"
NETWORK = """
from mmagic.registry import MODELS
from torch import nn


@MODELS.register_module()
class DnCNN(nn.Module):
    def __init__(self):
        super().__init__()
        self.of_my_own = nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, x):
        return self.of_my_own(x)
"""


@pytest.fixture
def folder(tmp_path):
    """A user's folder with a config and pairs; a name is no UTF-8, as cameras and old archives give them."""
    random = np.random.default_rng(0)
    names = [os.fsdecode(b'caf\xe9.png'), 'b.png']
    for name in names:
        image = random.integers(0, 256, (48, 48, 3), dtype=np.uint8)
        for kind in ('input', 'target'):
            (tmp_path / 'pairs' / kind).mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(tmp_path / 'pairs' / kind / name)
    (tmp_path / 'config.py').write_text(CONFIG.replace('PAIRS', str(tmp_path / 'pairs')) + SHORT)
    return tmp_path


def train(folder, config, *options):
    """The weights of a student that was trained for two iterations."""
    status, printed = run(folder, 'train.py', config, '--work-dir', 'work', *options)
    assert status == 0, printed[-3000:]
    return torch.load(folder / 'work' / 'iter_2.pth', weights_only=False)['state_dict'], printed


def test_names_that_are_no_utf8(folder):
    """Converted, trained on with stored masks, and tested."""
    status, printed = run(folder, 'dataset_converters/make_rain.py', 'pairs/target', 'rainy')
    assert status == 0 and b'caf\xe9.png' in os.listdir(os.fsencode(folder / 'rainy' / 'input')), printed
    config = (folder / 'config.py').read_text().replace("dict(type='FelzenszwalbMasks')", STORED)
    (folder / 'stored.py').write_text(config)
    train(folder, 'stored.py', '--cfg-options', f'train_dataloader.dataset.data_root={folder / "rainy"}')
    assert len(list((folder / 'masks').rglob('*'))) >= 2
    status, printed = run(folder, 'test.py', 'config.py', 'work/iter_2.pth', '--work-dir', 'tested')
    assert status == 0 and 'PSNR' in printed, printed[-3000:]
    status, printed = run(folder, 'restore.py', 'pairs/input', '--student', 'noise', '--out', 'restored')
    assert status == 0 and b'caf\xe9.png' in os.listdir(os.fsencode(folder / 'restored')), printed[-3000:]


@pytest.mark.parametrize('name', ['config.yaml', 'config.json'])
def test_yaml_and_json(folder, name):
    from mmengine.config import Config

    Config.fromfile(folder / 'config.py').dump(folder / name)
    train(folder, name)
    status, printed = run(folder, 'test.py', name, 'work/iter_2.pth', '--work-dir', 'tested')
    assert status == 0 and 'PSNR' in printed, printed[-3000:]


def test_lists_with_a_byte_order_mark(folder):
    (folder / 'list.txt').write_bytes(b'\xef\xbb\xbfb.png\r\n')
    train(folder, 'config.py', '--cfg-options', f'train_dataloader.dataset.ann_file={folder / "list.txt"}')


def test_a_network_of_ones_own_that_is_named_like_one_of_ours(folder):
    (folder / 'mine.py').write_text(NETWORK)
    text = (
        (folder / 'config.py')
        .read_text()
        .replace(
            "generator=dict(type='NAFNet', mid_channels=4, enc_blk_nums=[1], dec_blk_nums=[1], middle_blk_num=1)",
            "generator=dict(_delete_=True, type='DnCNN')",
        )
    )
    (folder / 'config.py').write_text(f"{text}\ncustom_imports = dict(imports=['mine'])\n")
    weights, _ = train(folder, 'config.py')
    assert 'generator.of_my_own.weight' in weights


def test_no_hooks_at_all(folder):
    text = (folder / 'config.py').read_text()
    (folder / 'config.py').write_text(PLAIN + text[text.index('train_pipeline') :])
    train(folder, 'config.py', '--accumulate', '1')
    status, printed = run(folder, 'test.py', 'config.py', 'work/iter_2.pth', '--work-dir', 'tested')
    assert status == 0, printed[-3000:]


LAZY = """
from mmengine.config import read_base
from mmagic.datasets.transforms import LoadImageFromFile, PackInputs, PairedRandomCrop, SetValues
from mmagic.models.editors import NAFNet
from mmsampriors.models import SPDModel

with read_base():
    from .base import *

model.update(type=SPDModel)
model.generator.update(type=NAFNet)
train_dataloader.dataset.pipeline = [
    dict(type=LoadImageFromFile, key='img'),
    dict(type=LoadImageFromFile, key='gt'),
    dict(type=SetValues, dictionary=dict(scale=1)),
    dict(type=PairedRandomCrop, gt_patch_size=32),
    dict(type=PackInputs)]
"""


def test_classes_as_types(folder):
    """In a config of mmengine's newer kind, which imports what it names."""
    from mmengine.config import Config

    Config.fromfile(folder / 'config.py').dump(folder / 'base.py')
    (folder / 'lazy.py').write_text(LAZY)
    train(folder, 'lazy.py')
    assert "type='NAFNet'" in (folder / 'work' / 'student.py').read_text().replace('"', "'")

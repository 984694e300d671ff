"""Super-resolution as users do it, by processes: small copies of photographs, training, test, export, restoring."""

import pytest
import skimage.data
import torch
from mmengine.config import Config
from PIL import Image
from test_end_to_end import ROOT, tool

from mmsampriors.registry import MODELS

CONFIG = 'configs/spd/edsr_sr_x2-tiny.py'
SHORT = (
    'train_cfg.max_iters=4',
    'train_cfg.val_interval=4',
    'default_hooks.checkpoint.interval=4',
    'default_hooks.logger.interval=1',
)


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp('super_resolution')
    for name in ('chelsea', 'coffee'):
        (folder / 'photographs').mkdir(exist_ok=True)
        Image.fromarray(getattr(skimage.data, name)()[100:197, 150:279]).save(folder / 'photographs' / f'{name}.png')
    for split in ('train', 'val'):
        tool(folder, 'dataset_converters/make_lowres.py', 'photographs', f'data/tiny/sr_x2/{split}', '--scale', 2)
    return folder


def test_pairs_training_test_export_and_restoring(folder):
    tool(folder, 'train.py', ROOT / CONFIG, '--work-dir', 'run', '--cfg-options', *SHORT)
    assert list((folder / 'run').glob('*/vis_data/vis_image/spd_*.png'))
    metrics = tool(folder, 'test.py', ROOT / CONFIG, 'run/iter_4.pth', '--work-dir', 'tested')
    assert 'PSNR' in metrics and 'SSIM' in metrics
    tool(folder, 'export_student.py', ROOT / CONFIG, 'run/iter_4.pth', 'out/student.pth')
    stock = MODELS.build(Config.fromfile(folder / 'out' / 'student.py').model).eval()
    weights = torch.load(folder / 'out' / 'student.pth', weights_only=True)['state_dict']
    stock.load_state_dict(weights, strict=True)
    assert stock(torch.rand(1, 3, 7, 9)).shape == (1, 3, 14, 18)
    pairs = folder / 'data' / 'tiny' / 'sr_x2' / 'val'
    paths = (pairs / 'input', '--student', 'out/student.pth', '--out', 'restored', '--gt', pairs / 'target')
    assert 'without a border of 2 pixels' in tool(folder, 'restore.py', *paths)
    assert Image.open(folder / 'restored' / 'coffee.png').size == Image.open(pairs / 'target' / 'coffee.png').size

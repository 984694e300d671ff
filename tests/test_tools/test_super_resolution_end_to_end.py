"""Super-resolution as users do it, by processes: photographs made small, training, test, export, restoring, page."""

import base64
import io
import json
import re

import pytest
import skimage.data
import torch
from mmengine.config import Config
from PIL import Image
from test_demo import OPENED, Demo, answer_to, file_data, outcome_of, upload
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


@pytest.fixture(scope='module')
def trained(folder):
    tool(folder, 'train.py', ROOT / CONFIG, '--work-dir', 'run', '--cfg-options', *SHORT)
    tool(folder, 'export_student.py', ROOT / CONFIG, 'run/iter_4.pth', 'out/student.pth')
    return folder


def test_pairs_training_test_export_and_restoring(trained):
    folder = trained
    assert list((folder / 'run').glob('*/vis_data/vis_image/spd_*.png'))
    metrics = tool(folder, 'test.py', ROOT / CONFIG, 'run/iter_4.pth', '--work-dir', 'tested')
    assert 'PSNR and SSIM on Y, without a border of 2 pixels' in metrics
    stock = MODELS.build(Config.fromfile(folder / 'out' / 'student.py').model).eval()
    weights = torch.load(folder / 'out' / 'student.pth', weights_only=True)['state_dict']
    stock.load_state_dict(weights, strict=True)
    assert stock(torch.rand(1, 3, 7, 9)).shape == (1, 3, 14, 18)
    pairs = folder / 'data' / 'tiny' / 'sr_x2' / 'val'
    paths = (pairs / 'input', '--student', 'out/student.pth', '--out', 'restored', '--gt', pairs / 'target')
    assert 'without a border of 2 pixels' in tool(folder, 'restore.py', *paths)
    assert Image.open(folder / 'restored' / 'coffee.png').size == Image.open(pairs / 'target' / 'coffee.png').size


def test_the_page_shows_both_photographs_enlarged(trained, tmp_path):
    pytest.importorskip('gradio')
    demo = Demo(tmp_path, '--student', trained / 'out' / 'student.pth')
    photograph = trained / 'data' / 'tiny' / 'sr_x2' / 'val' / 'input' / 'coffee.png'
    shown = [part['props'] for part in json.loads(answer_to(demo.url, '/config')[1])['components']]
    student = next(props['value'] for props in shown if props.get('elem_id') == 'student')
    given = file_data(upload(demo.url, photograph.read_bytes()))
    done, told = outcome_of(demo.url, OPENED, given, session_hash='mine')
    assert done, told
    done, told = outcome_of(demo.url, OPENED + 1, None, 'none', 5, student, session_hash='mine')
    assert done, told
    pictures = re.findall('data:image/jpeg;base64,([A-Za-z0-9+/=]+)', told)
    sizes = {Image.open(io.BytesIO(base64.b64decode(picture))).size for picture in pictures}
    width, height = Image.open(photograph).size
    assert len(pictures) == 4 and sizes == {(2 * width, 2 * height)}
    assert demo.end() == 0

"""A student in PyTorch, against mmagic's own inference."""

import cv2
import pytest
import torch
from mmagic.models import BaseEditModel, NAFNet  # noqa: F401  (registers them)
from mmagic.structures import DataSample
from mmengine.registry import init_default_scope

from mmsampriors.models.checkpoints import load_state_dict
from mmsampriors.models.student import build_student
from mmsampriors.registry import MODELS

MODEL = dict(
    type='BaseEditModel',
    generator=dict(
        type='NAFNet', img_channels=3, mid_channels=4, enc_blk_nums=[1, 1], middle_blk_num=1, dec_blk_nums=[1, 1]
    ),
    pixel_loss=dict(type='L1Loss'),
    data_preprocessor=dict(type='DataPreprocessor', mean=[10.0, 20.0, 30.0], std=[255.0, 200.0, 100.0]),
)


@pytest.fixture
def checkpoint(tmp_path):
    init_default_scope('mmagic')
    torch.manual_seed(0)
    model = MODELS.build(MODEL)
    for parameter in model.parameters():
        parameter.data += 0.05 * torch.randn_like(parameter)
    torch.save(dict(state_dict={**model.state_dict(), 'refiner.x': torch.zeros(1)}), tmp_path / 'model.pth')
    return model.eval(), str(tmp_path / 'model.pth')


def student_of(model, path, order):
    return build_student(model, load_state_dict(path), order, path)


@pytest.mark.parametrize('order', ['rgb', 'bgr'])
def test_restores_as_mmagic_does(checkpoint, order):
    model, path = checkpoint
    images = torch.rand(2, 3, 64, 128)
    found = student_of({**MODEL, 'type': 'mmsampriors.SPDModel', 'spd': {}}, path, order).restore(images)
    inputs = list(images * 255 if order == 'rgb' else images.flip(1) * 255)
    samples = [DataSample(metainfo=dict(img_channel_order=order, img_color_type='color')) for _ in inputs]
    with torch.no_grad():
        data = model.data_preprocessor(dict(inputs=inputs, data_samples=samples), False)
        expected = model.data_preprocessor.destruct(model.generator(data['inputs']), data['data_samples'], 'img')
    torch.testing.assert_close(found, expected.flip(1) / 255, rtol=0, atol=1e-5)  # destruct gives BGR


def test_a_gray_student_restores_what_opencv_loads_as_gray(tmp_path):
    init_default_scope('mmagic')
    gray = {
        **MODEL,
        'generator': {**MODEL['generator'], 'img_channels': 1},
        'data_preprocessor': dict(type='DataPreprocessor', mean=[10.0], std=[200.0]),
    }
    model = MODELS.build(gray).eval()
    torch.save(model.state_dict(), tmp_path / 'gray.pth')
    rgb = torch.randint(0, 256, (1, 3, 64, 64))
    loaded = cv2.cvtColor(rgb[0].permute(1, 2, 0).byte().numpy(), cv2.COLOR_RGB2GRAY)
    with torch.no_grad():
        expected = model.generator((torch.from_numpy(loaded)[None, None] - 10.0) / 200) * 200 + 10
    found = student_of(gray, str(tmp_path / 'gray.pth'), 'bgr').restore(rgb / 255)
    assert found.shape == (1, 3, 64, 64)
    # OpenCV rounds in whole numbers: a gray value may differ by one.
    torch.testing.assert_close(found, (expected.clamp(0, 255) / 255).expand(-1, 3, -1, -1), rtol=0, atol=2 / 255)


def test_images_of_any_size(checkpoint):
    assert student_of(MODEL, checkpoint[1], 'bgr').restore(torch.rand(1, 3, 37, 70)).shape == (1, 3, 37, 70)


def test_a_checkpoint_of_another_network_is_named(checkpoint):
    other = {**MODEL, 'generator': {**MODEL['generator'], 'mid_channels': 8}}
    with pytest.raises(ValueError, match=r'the checkpoint .*model\.pth does not fit model\.generator'):
        student_of(other, checkpoint[1], 'rgb')

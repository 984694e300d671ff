"""A student in PyTorch, against mmagic's own inference."""

import cv2
import pytest
import torch
from mmagic.models import BaseEditModel, NAFNet  # noqa: F401  (registers them)
from mmagic.structures import DataSample
from mmengine.registry import init_default_scope

from mmsampriors.checkpoints import read_weights
from mmsampriors.models.networks import build_student
from mmsampriors.registry import MODELS


def student_of(model, path, order):
    return build_student(model, read_weights(path), order, path)


@pytest.mark.parametrize('order', ['rgb', 'bgr'])
def test_restores_as_mmagic_does(stock_model, stock_checkpoint, order):
    model, path = stock_checkpoint
    images = torch.rand(2, 3, 64, 128)
    found = student_of({**stock_model, 'type': 'mmsampriors.SPDModel', 'spd': {}}, path, order).restore(images)
    inputs = list(images * 255 if order == 'rgb' else images.flip(1) * 255)
    samples = [DataSample(metainfo=dict(img_channel_order=order, img_color_type='color')) for _ in inputs]
    with torch.no_grad():
        data = model.data_preprocessor(dict(inputs=inputs, data_samples=samples), False)
        expected = model.data_preprocessor.destruct(model.generator(data['inputs']), data['data_samples'], 'img')
    torch.testing.assert_close(found, expected.flip(1) / 255, rtol=0, atol=1e-5)  # destruct gives BGR


def test_a_gray_student_restores_what_opencv_loads_as_gray(stock_model, tmp_path):
    init_default_scope('mmagic')
    gray = {
        **stock_model,
        'generator': {**stock_model['generator'], 'img_channels': 1},
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


def test_images_of_any_size(stock_model, stock_checkpoint):
    assert student_of(stock_model, stock_checkpoint[1], 'bgr').restore(torch.rand(1, 3, 37, 70)).shape == (1, 3, 37, 70)


def test_a_checkpoint_of_another_network_is_named(stock_model, stock_checkpoint):
    other = {**stock_model, 'generator': {**stock_model['generator'], 'mid_channels': 8}}
    first = r'\(first: intro\.weight \(4, 3, 3, 3\), not \(8, 3, 3, 3\)\)'
    with pytest.raises(ValueError, match=rf'the checkpoint .*model\.pth does not fit model\.generator .*{first}'):
        student_of(other, stock_checkpoint[1], 'rgb')

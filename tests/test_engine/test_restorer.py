"""The restorer of masks of source 'restored'."""

from types import SimpleNamespace

import pytest
import torch
from mmagic.models import BaseEditModel, NAFNet  # noqa: F401  (registers them)
from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.registry import init_default_scope

from mmsampriors.engine.restorer import restorer_of
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


def test_the_order_of_channels_is_that_of_the_train_pipeline(checkpoint):
    dataset = SimpleNamespace(
        pipeline=Compose(
            [dict(type='LoadImageFromFile', key='gt'), dict(type='LoadImageFromFile', key='img', channel_order='rgb')]
        )
    )
    cfg = Config(dict(model=MODEL))
    assert restorer_of(cfg, SimpleNamespace(source='gt'), dataset) is None
    restore = restorer_of(cfg, SimpleNamespace(source='restored', restorer=checkpoint[1]), dataset)
    assert restore.__self__.order == 'rgb'
    assert restore(torch.rand(1, 3, 37, 70)).shape == (1, 3, 37, 70)
    dataset.pipeline.transforms.pop()
    dataset.pipeline.transforms += Compose([dict(type='LoadImageFromFile', key='img')]).transforms
    restore = restorer_of(cfg, SimpleNamespace(source='restored', restorer=checkpoint[1]), dataset)
    assert restore.__self__.order == 'bgr'

"""The restorer of masks of source 'restored'."""

from types import SimpleNamespace

import torch
from mmagic.models import BaseEditModel, NAFNet  # noqa: F401  (registers them)
from mmengine.config import Config
from mmengine.dataset import Compose

from mmsampriors.engine.pretrained import restorer_of


def test_the_order_of_channels_is_that_of_the_train_pipeline(stock_model, stock_checkpoint):
    dataset = SimpleNamespace(
        pipeline=Compose(
            [dict(type='LoadImageFromFile', key='gt'), dict(type='LoadImageFromFile', key='img', channel_order='rgb')]
        )
    )
    cfg = Config(dict(model=stock_model))
    assert restorer_of(cfg, SimpleNamespace(source='gt'), dataset) is None
    restore = restorer_of(cfg, SimpleNamespace(source='restored', restorer=stock_checkpoint[1]), dataset)
    assert restore.__self__.order == 'rgb'
    assert restore(torch.rand(1, 3, 37, 70)).shape == (1, 3, 37, 70)
    dataset.pipeline.transforms.pop()
    dataset.pipeline.transforms += Compose([dict(type='LoadImageFromFile', key='img')]).transforms
    restore = restorer_of(cfg, SimpleNamespace(source='restored', restorer=stock_checkpoint[1]), dataset)
    assert restore.__self__.order == 'bgr'

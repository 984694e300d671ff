"""Networks that are trained on BGR and measured on RGB."""

import pytest
from mmengine.config import Config

from mmsampriors.checks import config_check
from mmsampriors.checks.config_check import check_channel_order, in_order, trained_order


@pytest.fixture
def said(monkeypatch):
    messages = []
    monkeypatch.setattr(config_check, 'warn', messages.append)
    return messages


def cfg(train, val, **model):
    def pipeline(order, **others):
        how = dict(channel_order=order) if order else {}
        return [dict(type='LoadImageFromFile', key=key, **how, **others) for key in ('img', 'gt')]

    return Config(
        dict(
            model=model,
            train_dataloader=dict(dataset=dict(type='RepeatDataset', times=2, dataset=dict(pipeline=pipeline(train)))),
            val_dataloader=[dict(dataset=dict(pipeline=pipeline(val)))],
        )
    )


def test_one_line_names_the_settings_that_mend_it(said):
    mixed = cfg(None, 'rgb')
    check_channel_order(mixed)
    (message,) = said
    assert '\n' not in message and 'train_dataloader loads BGR and val_dataloader RGB' in message
    settings = dict(one.split('=') for one in message.split('--cfg-options) ')[1].split())
    assert len(settings) == 2
    mixed.merge_from_dict(settings)
    check_channel_order(mixed)
    assert len(said) == 1 and trained_order(mixed) == 'rgb'


def test_a_pair_in_two_orders_is_seen(said):
    pair = cfg('rgb', 'rgb')
    pair.train_dataloader.dataset.dataset.pipeline[1].channel_order = 'bgr'
    check_channel_order(pair)
    assert len(said) == 1 and said[0].count('channel_order=') == 1 and 'pipeline.1.channel_order=rgb' in said[0]


def test_one_order_gray_images_and_a_preprocessor_that_converts_are_fine(said):
    check_channel_order(cfg('rgb', 'rgb'))
    check_channel_order(cfg(None, 'bgr'))
    check_channel_order(cfg(None, 'rgb', data_preprocessor=dict(output_channel_order='RGB')))
    gray = cfg(None, 'rgb')
    for step in gray.train_dataloader.dataset.dataset.pipeline:
        step.color_type = 'grayscale'
    check_channel_order(gray)
    assert not said and trained_order(gray) is None


def test_a_config_in_another_order():
    before = cfg(None, 'rgb').to_dict()
    after = in_order(before, 'rgb')
    check = [step['channel_order'] for step in after['train_dataloader']['dataset']['dataset']['pipeline']]
    assert check == ['rgb', 'rgb'] and after['val_dataloader'] == before['val_dataloader']
    assert before == cfg(None, 'rgb').to_dict()

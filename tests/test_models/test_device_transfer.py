"""Batches leave the host from pinned memory; a stand-in pins, for there is no GPU that could."""

import copy
from types import SimpleNamespace

import pytest
import torch
from mmagic.models import DataPreprocessor
from mmagic.structures import DataSample
from mmengine.structures import BaseDataElement

import mmsampriors.models  # noqa: F401
from mmsampriors.masks import RunMasks
from mmsampriors.models import batch as module
from mmsampriors.registry import MODELS, build_part


@pytest.fixture
def pins(monkeypatch):
    found = []
    monkeypatch.setattr(torch.Tensor, 'pin_memory', lambda tensor: (found.append(tensor), tensor.clone())[1])
    return found


def batch_of(count=2):
    images = [torch.randint(0, 256, (3, 8, 8), dtype=torch.uint8) for _ in range(count)]
    samples = [
        DataSample(gt_img=image.clone(), masks=RunMasks.from_masks(torch.ones(1, 8, 8).bool()), metainfo=dict(name='a'))
        for image in images
    ]
    return dict(inputs=images, data_samples=samples)


def test_images_and_ground_truth_are_pinned_and_all_else_is_kept(pins):
    batch = batch_of()
    sent = module.pinned(batch)
    assert len(pins) == 4
    assert all(image.equal(before) for image, before in zip(sent['inputs'], batch['inputs']))
    for sample, before in zip(sent['data_samples'], batch['data_samples']):
        assert sample is not before and type(sample) is DataSample
        assert sample.gt_img.equal(before.gt_img) and sample.masks is before.masks
        assert sample.metainfo == before.metainfo


def test_a_model_sends_to_a_gpu_from_pinned_memory_and_says_not_to_wait(model_cfg, pins, monkeypatch):
    model = copy.deepcopy(build_part(MODELS, model_cfg()))
    assert model.data_preprocessor(batch_of(), True)['inputs'].shape == (2, 3, 8, 8)
    assert not pins  # on the CPU nothing travels
    asked = []
    for kind in (torch.Tensor, BaseDataElement):
        monkeypatch.setattr(kind, 'to', lambda data, device, non_blocking=False: (asked.append(non_blocking), data)[1])
    monkeypatch.setattr(DataPreprocessor, 'device', SimpleNamespace(type='cuda'))
    model.data_preprocessor.cast_data(batch_of())
    module._pin_batch(model.data_preprocessor, (batch_of(), True))
    assert asked and all(asked) and len(pins) == 4

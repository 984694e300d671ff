import numpy as np
import pytest
import torch
from mmagic.structures import DataSample
from PIL import Image

import mmsampriors.evaluation  # noqa: F401  (registers it)
from mmsampriors.registry import METRICS, build_part


def sample(gt, given, restored):
    return dict(output=dict(pred_img=restored), gt_img=gt, input=given)


def rate(*samples, **options):
    metric = build_part(METRICS, dict(type='mmsampriors.CollapseRate', **options))
    metric.process(None, list(samples))
    return metric.compute_metrics(metric.results)['CollapseRate']


def test_counts_images_that_are_more_than_three_decibels_below_their_input():
    gt = torch.full((3, 24, 32), 100.0)
    found = [rate(sample(gt, gt + 10, gt + error)) for error in (5, 10, 14, 15, 60)]  # 14.1 is 3 dB
    assert found == [0, 0, 0, 1, 1]
    assert rate(sample(gt, gt + 10, gt + 5), sample(gt, gt + 10, gt - 90)) == 0.5
    assert rate(sample(gt, gt, gt)) == 0 and rate(sample(gt, gt, gt + 1)) == 1


def test_a_small_input_is_enlarged_and_options_are_those_of_psnr():
    clean = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (3, 24, 32)).astype(np.float32))
    planes = [Image.fromarray(plane.numpy()) for plane in clean]
    larger = torch.stack([torch.tensor(np.asarray(one.resize((64, 48), Image.Resampling.BICUBIC))) for one in planes])
    gt = larger.clamp(0, 255) + 1
    border = gt.clone()
    border[..., :2, :] = 0
    assert rate(sample(gt, clean, gt + 1.3)) == 0 and rate(sample(gt, clean, gt + 1.5)) == 1
    assert rate(sample(gt, clean, border)) == 1 and rate(sample(gt, clean, border), crop_border=2) == 0


@torch.no_grad()
@pytest.mark.parametrize('order', ['rgb', 'bgr'])
def test_a_model_that_is_tested_gives_what_it_needs(model_cfg, order):
    """The input beside the prediction, in the order of channels of the ground truth."""
    from mmsampriors.registry import MODELS

    model = MODELS.build(model_cfg()).eval()
    gt = torch.randint(0, 256, (3, 24, 32), dtype=torch.uint8)
    one = DataSample(gt_img=gt.float(), metainfo=dict(img_channel_order=order, gt_channel_order=order))
    (tested,) = model.val_step(dict(inputs=[gt], data_samples=[one]))
    tested = tested.to_dict()
    torch.testing.assert_close(tested['input'], tested['gt_img'])
    assert rate(tested) == 1, 'nothing is above an input that equals its ground truth'

"""Students whose image is larger than their input: mmagic's families of super-resolution networks."""

import pytest
import torch
import torch.nn.functional as F
from mmagic.structures import DataSample
from networks import ENLARGING, enlarging

import mmsampriors.models  # noqa: F401
from mmsampriors.engine.export import student_weights
from mmsampriors.masks import ImageMasks
from mmsampriors.models import Phase, Regions
from mmsampriors.models.networks import DnCNN, LowResolutionRefiner
from mmsampriors.registry import MODELS, build_part

#: MSRResNet enlarges by 4 only.
CASES = [(name, scale) for name in ENLARGING for scale in (2, 4) if (name, scale) != ('msrresnet', 2)] + [('edsr', 3)]
SIDE = 16


def batch_of(scale, count=2):
    generator = torch.Generator().manual_seed(0)
    gt = torch.rand(count, 3, scale * SIDE, scale * SIDE, generator=generator)
    samples = [
        DataSample(
            gt_img=image,
            masks=ImageMasks.from_masks(torch.rand(3, *image.shape[1:], generator=generator) < 0.3),
            metainfo=dict(img_output_channel_order='RGB'),
        )
        for image in gt
    ]
    return F.avg_pool2d(gt, scale), DataSample.stack(samples)


@pytest.mark.parametrize('name, scale', CASES)
@pytest.mark.parametrize('phase', [Phase(True, True, 1.0), Phase(False, True, 0.0), Phase(True, False, 1.0)])
@pytest.mark.parametrize('at_full_size', [True, False])
def test_a_step_of_each_family(model_cfg, name, scale, phase, at_full_size):
    generator = enlarging(name, scale)
    spd = dict(schedule=dict(type='TwoStageSchedule'), refiner=None if at_full_size else generator)
    model = build_part(MODELS, model_cfg(spd, generator=generator)).train()
    assert model.scale == scale and isinstance(model.refiner, DnCNN if at_full_size else LowResolutionRefiner)
    model.enter(phase)
    losses = model(*batch_of(scale), mode='loss')
    sum(losses.values()).backward()
    assert all(loss.isfinite() for loss in losses.values()) and ('spd.loss_image' in losses) == bool(phase.ramp)
    assert 0 < model.mask_coverage < 1 and model.psnr_gain.isfinite()
    for part, trains in (('generator', phase.student), ('refiner', phase.refiner), ('spf', phase.refiner)):
        weights = getattr(model, part).parameters()
        assert any(weight.grad is not None and weight.grad.any() for weight in weights) == trains, part
    stock = build_part(
        MODELS, dict(type='BaseEditModel', generator=enlarging(name, scale), pixel_loss=dict(type='L1Loss'))
    )
    stock.load_state_dict(student_weights(model.state_dict()), strict=True)


@pytest.mark.parametrize('name, scale', CASES)
def test_the_students_own_network_starts_as_the_student_on_its_own_reduced_image(model_cfg, name, scale):
    generator = enlarging(name, scale)
    model = build_part(MODELS, model_cfg(dict(refiner=generator), generator=generator)).eval()
    model.start_refiner()
    inputs, samples = batch_of(scale)
    with torch.no_grad():
        restored = model.generator(inputs)
        reduced = F.interpolate(restored, inputs.shape[2:], mode='bicubic', antialias=True)
        refined = model.refine(restored, Regions(samples.masks, restored))
        torch.testing.assert_close(refined, model.generator(reduced))
        torch.nn.init.normal_(model.spf.project.weight, std=0.1)
        with_masks = model.refine(restored, Regions(samples.masks, restored))
        empty = [ImageMasks.empty(*restored.shape[2:])] * len(inputs)
        without = model.refine(restored, Regions(empty, restored))
    assert with_masks.shape == restored.shape and not torch.allclose(with_masks, without)


def test_a_refiner_at_full_size_may_be_named(model_cfg):
    spd = dict(refiner=dict(type='NAFNet', mid_channels=4, enc_blk_nums=[1], middle_blk_num=1, dec_blk_nums=[1]))
    model = build_part(MODELS, model_cfg(spd, generator=enlarging('edsr', 3))).train()
    model.enter(Phase(True, True, 1.0))
    losses = model(*batch_of(3), mode='loss')
    assert model.scale == 3 and not isinstance(model.refiner, LowResolutionRefiner) and len(losses) == 5


def test_masks_of_another_size_than_the_ground_truth_are_refused(model_cfg):
    model = build_part(MODELS, model_cfg(generator=enlarging('edsr', 2))).train()
    model.enter(Phase(True, True, 1.0))
    inputs, samples = batch_of(2)
    _, larger = batch_of(4)
    samples.set_data(dict(masks=larger.masks))
    with pytest.raises(ValueError, match='masks of 64x64 pixels came with an image of 32x32'):
        model(inputs, samples, mode='loss')


def test_a_restored_image_is_no_input(model_cfg):
    model = build_part(MODELS, model_cfg(generator=enlarging('edsr', 2))).train()
    model.enter(Phase(True, True, 1.0))
    model.unlabeled_cascade = 2
    inputs, samples = batch_of(2)
    samples.set_metainfo(dict(labelled=[True, False]))
    with pytest.raises(ValueError, match='UnlabeledHook.cascade must be 1'):
        model(inputs, samples, mode='loss')

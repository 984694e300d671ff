"""Gray and colour, any size, any normalization, any refiner: what networks and data may be besides the default."""

from pathlib import Path

import numpy as np
import pytest
import torch
from mmagic.structures import DataSample
from mmcv.transforms import Compose
from mmengine.config import Config
from mmengine.runner import Runner

import mmsampriors
import mmsampriors.engine  # noqa: F401
import mmsampriors.models  # noqa: F401
from mmsampriors.models import Phase
from mmsampriors.registry import MODELS, TRANSFORMS, build_part

SPD_BASE = Path(mmsampriors.__file__).parent / '.mim' / 'configs' / '_base_' / 'spd.py'

NETWORKS = dict(
    nafnet=lambda channels: dict(
        type='NAFNet', img_channels=channels, mid_channels=4, enc_blk_nums=[1, 1], middle_blk_num=1, dec_blk_nums=[1, 1]
    ),
    restormer=lambda channels: dict(
        type='Restormer',
        inp_channels=channels,
        out_channels=channels,
        dim=8,
        num_blocks=[1] * 4,
        num_refinement_blocks=1,
    ),
    swinir=lambda channels: dict(
        type='SwinIRNet',
        in_chans=channels,
        upscale=1,
        img_size=14,
        window_size=7,
        depths=[2],
        embed_dim=8,
        num_heads=[2],
    ),
)
TINY_SAM = dict(type='SAMMasks', model_type='tiny', engine=dict(points_per_side=4))


def samples_of(gt):
    return DataSample.stack([DataSample(gt_img=image, metainfo=dict(img_output_channel_order='RGB')) for image in gt])


def losses_of(cfg, channels, size):
    model = build_part(MODELS, cfg).train()
    model.enter(Phase(True, True, 1.0))
    gt = torch.rand(2, channels, *size)
    losses = model(gt + 0.1 * torch.randn_like(gt), samples_of(gt), mode='loss')
    sum(losses.values()).backward()
    return model, losses


@pytest.mark.parametrize('inject', ['feature', 'image'])
@pytest.mark.parametrize('channels', [3, 1])
@pytest.mark.parametrize('network', NETWORKS)
def test_images_of_any_size_and_of_one_channel(model_cfg, network, channels, inject):
    preprocessor = dict(type='DataPreprocessor', mean=[0.0] * channels, std=[255.0] * channels)
    cfg = model_cfg(
        dict(spf=dict(type='SPFUnit', channels=4, inject=inject)),
        generator=NETWORKS[network](channels),
        data_preprocessor=preprocessor,
    )
    model, losses = losses_of(cfg, channels, (37, 45))
    assert len(losses) == 5 and all(loss.isfinite() for loss in losses.values())
    assert model.spf.project.weight.grad.abs().sum() > 0
    assert 0 < model.mask_coverage <= 1


def test_gray_images_reach_sam_and_feature_extractor(model_cfg):
    preprocessor = dict(type='DataPreprocessor', mean=[0.0], std=[255.0])
    cfg = model_cfg(dict(masks=TINY_SAM), generator=NETWORKS['nafnet'](1), data_preprocessor=preprocessor)
    model = build_part(MODELS, cfg)
    image = torch.zeros(1, 1, 64, 64)
    image[..., 16:48, 16:48] = 1
    samples = samples_of(image)
    masks = model.masks_of(image, samples)
    assert len(masks) == 1 and masks[0].size == (64, 64)
    assert model.feature_extractor(model.to_rgb(image, samples)).shape[0] == 1


@pytest.mark.parametrize(
    'refiner',
    [
        NETWORKS['nafnet'](3) | dict(mid_channels=12),
        NETWORKS['nafnet'](3) | dict(mid_channels=2),
        NETWORKS['restormer'](3),
    ],
    ids=['wider', 'narrower', 'another'],
)
@pytest.mark.parametrize('inject', ['feature', 'image'])
def test_the_refiner_may_be_another_network(model_cfg, refiner, inject):
    cfg = model_cfg(dict(refiner=refiner, spf=dict(type='SPFUnit', channels=4, inject=inject)))
    model, losses = losses_of(cfg, 3, (24, 40))
    assert type(model.refiner).__name__ == refiner['type'] and len(losses) == 5
    gradients = [parameter.grad for parameter in model.refiner.parameters()]
    assert all(gradient is not None and gradient.isfinite().all() for gradient in gradients)


def test_a_whole_run_on_gray_images_with_mean_and_std(runner_cfg, pairs, tmp_path):
    """All hooks of the base config, stored masks, patches of an odd size, and validation as in mmagic's SwinIR configs.

    In stock mmagic 1.2.0 that validation fails: its metrics and timer do not fit ValLoop, and save_best finds no PSNR.
    """
    base = Config.fromfile(SPD_BASE)
    segmenter = dict(type='FelzenszwalbMasks', min_size=50)
    masks = dict(type='CachedMasks', segmenter=segmenter, source='gt', cache_dir=str(tmp_path / 'masks'))
    cfg = runner_cfg(hooks=[hook for hook in base.spd_hooks if hook.type != 'SPDScheduleHook'])
    cfg['model'].update(
        generator=NETWORKS['nafnet'](1), data_preprocessor=dict(type='DataPreprocessor', mean=[100.0], std=[50.0])
    )
    cfg['model']['spd'].update(masks=masks)
    for loader in (cfg['train_dataloader'], cfg['val_dataloader']):
        for step in loader['dataset']['pipeline'][:2]:
            step['color_type'] = 'grayscale'
    cfg['train_dataloader']['dataset']['pipeline'][3]['gt_patch_size'] = 29
    cfg.update(val_cfg=dict(type='ValLoop'), val_evaluator=[dict(type='PSNR', prefix='McMaster')])
    runner = Runner.from_cfg(cfg)
    runner.train()
    history = runner.message_hub.log_scalars
    assert np.isfinite(history['val/McMaster/PSNR'].current())
    assert list((tmp_path / 'work').glob('best_PSNR_iter_*.pth'))
    assert history['train/spd.loss_image'].current() > 0 and history['train/sgr.loss_pixel'].current() > 0
    student = torch.load(tmp_path / 'work' / 'student.pth', weights_only=True)['state_dict']
    assert student['generator.intro.weight'].shape[1] == 1


def test_the_y_channel_of_a_colour_file_is_one_channel(pairs):
    """Stock mmagic 1.2.0 turns its order of channels and fails; so did every test of its gray Restormer configs."""
    steps = [
        dict(type='LoadImageFromFile', key=key, color_type='color', channel_order='rgb', to_y_channel=True)
        for key in ('img', 'gt')
    ]
    path = str(pairs / 'target' / 'coffee.png')
    pipeline = Compose([TRANSFORMS.build(step) for step in (*steps, dict(type='PackInputs'))])
    sample = pipeline(dict(img_path=path, gt_path=path))
    model = build_part(
        MODELS,
        dict(
            type='BaseEditModel',
            generator=NETWORKS['nafnet'](1),
            pixel_loss=dict(type='L1Loss'),
            data_preprocessor=dict(type='DataPreprocessor', mean=[0.0], std=[255.0]),
        ),
    ).eval()
    predicted = model.val_step(dict(inputs=[sample['inputs']], data_samples=[sample['data_samples']]))[0]
    assert predicted.output.pred_img.shape == predicted.gt_img.shape == (1, 72, 64)

"""All configs that mmagic ships, inherited by the three lines: distilled, or refused with the reason.

The everyday suite takes one config of each architecture and of each reason, the slow one all 250: 50 are distilled.
Networks are shrunk and patches are small; everything else is the config's own.
"""

import importlib.util
from copy import deepcopy
from pathlib import Path

import cv2
import mmengine.config.config
import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.optim import build_optim_wrapper

import mmsampriors.datasets.deterministic_loader  # noqa: F401
import mmsampriors.datasets.transforms  # noqa: F401
import mmsampriors.models  # noqa: F401
from mmsampriors.checks.config_check import TRAINING_KEYS, check_config, check_training
from mmsampriors.checks.config_parts import check_parts
from mmsampriors.datasets.deterministic_loader import SampleIndex
from mmsampriors.datasets.stored_masks import carry_masks, fill_masks
from mmsampriors.engine.export import write_student
from mmsampriors.models import Phase
from mmsampriors.registry import DATASETS, MODELS

CONFIGS = Path(importlib.util.find_spec('mmagic').origin).parent / '.mim' / 'configs'
NAMES = sorted(str(path.relative_to(CONFIGS)) for path in CONFIGS.glob('[!_]*/*.py'))
EVERYDAY = {
    'nafnet/nafnet_c64eb11128mb1db1111_8xb8-lr1e-3-400k_gopro.py',
    'nafnet/nafnet_c64eb2248mb12db2222_8xb8-lr1e-3-400k_sidd.py',
    'restormer/restormer_official_rain13k.py',
    'restormer/restormer_official_dfwb-color-sigma15.py',
    'restormer/restormer_official_dfwb-gray-sigma15.py',
    'swinir/swinir_s128w8d6e180_8xb1-lr2e-4-1600k_dfwb-colorDN25.py',
    'swinir/swinir_s126w7d6e180_8xb1-lr2e-4-1600k_dfwb-grayCAR10.py',
    'restormer/restormer_official_dpdd-dual.py',
    'edsr/edsr_x2c64b16_1xb16-300k_div2k.py',
    'rdn/rdn_x3c64b16_1xb16-1000k_div2k.py',
    'srcnn/srcnn_x4k915_1xb16-1000k_div2k.py',
    'esrgan/esrgan_psnr-x4c64b23g32_1xb16-1000k_div2k.py',
    'srgan_resnet/msrresnet_x4c64b16_1xb16-1000k_div2k.py',
    'swinir/swinir_x2s64w8d4e60_8xb4-lr2e-4-500k_div2k.py',
    'swinir/swinir_psnr-x4s64w8d6e180_8xb4-lr1e-4-600k_df2k-ost.py',
    'basicvsr/basicvsr_2xb4_reds4.py',
    'pix2pix/pix2pix_vanilla-unet-bn_wo-jitter-flip-1xb4-190kiters_edges2shoes.py',
}
# What a base that can only test needs besides the three lines.
SCHEDULES = dict(
    rain13k='derain',
    gopro='deblur',
    dpdd='deblur',
    sidd='denoise',
    color='denoise_gaussian',
    gray='denoise_gaussian_gray',
)
SHRUNK = dict(
    NAFNet=dict(mid_channels=4, enc_blk_nums=[1, 1], middle_blk_num=1, dec_blk_nums=[1, 1]),
    NAFNetLocal=dict(mid_channels=4, enc_blk_nums=[1, 1], middle_blk_num=1, dec_blk_nums=[1, 1]),
    Restormer=dict(dim=8, num_blocks=[1, 1, 1, 1], num_refinement_blocks=1),
    SwinIRNet=dict(embed_dim=8, depths=[2], num_heads=[2]),
    EDSRNet=dict(mid_channels=8, num_blocks=1),
    MSRResNet=dict(mid_channels=8, num_blocks=1),
    RDNNet=dict(mid_channels=8, num_blocks=1, num_layers=1, channel_growth=4),
    RRDBNet=dict(mid_channels=8, num_blocks=1, growth_channels=4),
)


def inherit(folder, name):
    """The config of a user who adds SPD to one of mmagic's, and a training where that one can only test."""
    base = Config.fromfile(str(CONFIGS / name), import_custom_modules=False)
    # mmengine finds no package:: base in a folder with a hyphen.
    bases = [str(CONFIGS / name) if name.startswith('wgan-gp') else f'mmagic::{name}', 'mmsampriors::_base_/spd.py']
    if 'train_dataloader' not in base and name.startswith('restormer/'):
        task = next(task for word, task in SCHEDULES.items() if word in name)
        bases.append(f'mmsampriors::_base_/schedules/restormer_{task}.py')
    (folder / 'user.py').write_text(
        f'_base_ = {bases}\n'
        "model = dict(type='mmsampriors.SPDModel', spd=_base_.spd)\n"
        "custom_hooks = _base_.get('custom_hooks', []) + _base_.spd_hooks\n"
    )
    cfg = Config.fromfile(folder / 'user.py')
    if 'train_dataloader' not in cfg and name.startswith('swinir/'):
        trained = f'swinir/swinir_x{cfg.model.generator.upscale}s48w8d6e180_8xb4-lr2e-4-500k_div2k.py'
        trained = Config.fromfile(str(CONFIGS / trained), import_custom_modules=False)
        cfg.update({key: trained[key] for key in TRAINING_KEYS})
    generator = cfg.model.get('generator') or {}
    generator.update(deepcopy(SHRUNK.get(generator.get('type'), {})))
    return base.get('model', {}).get('type'), cfg


def reduced(pairs, scale, folder):
    """Our pairs for super-resolution: targets of multiples of the scale, and inputs that many times smaller."""
    if scale == 1:
        return pairs
    for path in pairs.glob('target/*'):
        target = cv2.imread(str(path))
        height, width = (side // scale for side in target.shape[:2])
        target = target[: scale * height, : scale * width]
        small = cv2.resize(target, (width, height), interpolation=cv2.INTER_AREA)
        for kind, image in (('target', target), ('input', small)):
            (folder / kind).mkdir(exist_ok=True)
            cv2.imwrite(str(folder / kind / path.name), image)
    return folder


def batch_of(cfg, pairs, model):
    """Two samples of the config's own train pipeline, with masks, from our pairs."""
    patch = 32 if model.scale == 1 else 16 * model.scale
    dataset_cfg = deepcopy(cfg.train_dataloader.dataset)
    dataset_cfg.update(
        data_root=str(pairs),
        data_prefix=dict(img='input', gt='target'),
        ann_file='',
        filename_tmpl=dict(img='{}', gt='{}'),
        serialize_data=False,
    )
    for step in dataset_cfg.pipeline:
        if step['type'] == 'PairedRandomCrop':
            step['gt_patch_size'] = patch
    dataset = DATASETS.build(dataset_cfg)
    carry_masks(dataset, model.mask_source)
    fill_masks(dataset, model.mask_source)
    infos = [dataset.get_data_info(index) for index in (0, 1)]
    return pseudo_collate([dataset.pipeline({**info, 'sample_idx': SampleIndex(0, patch)}) for info in infos])


def train_one_step(cfg, pairs, folder):
    """Trains an inherited config for a step of its own optimizer, on its own pipeline."""
    segmenter = dict(type='FelzenszwalbMasks', min_size=100)
    cfg.model.spd.masks = dict(type='CachedMasks', segmenter=segmenter, source='gt', cache_dir=str(folder / 'masks'))
    model = MODELS.build(cfg.model)
    before = deepcopy(model.state_dict())
    model.train().enter(Phase(True, True, 1.0))
    data = batch_of(cfg, reduced(pairs, model.scale, folder), model)
    assert all(len(sample.masks) > 1 for sample in data['data_samples'])
    log = model.train_step(data, build_optim_wrapper(model, cfg.optim_wrapper))
    assert len(log) == 6 and all(value.isfinite() for value in log.values()), log
    moved = {name.split('.')[0] for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert moved == {'generator', 'refiner', 'spf'}
    return model.eval()


def assert_stock_restores_alike(cfg, model, folder):
    """Exports the student and loads it strictly in stock mmagic; images of a size that is no multiple of 8."""
    write_student(model.state_dict(), cfg, str(folder / 'student.pth'))
    stock = MODELS.build(Config.fromfile(folder / 'student.py').model).eval()
    assert type(stock).__name__ == 'BaseEditModel'
    stock.load_state_dict(torch.load(folder / 'student.pth', weights_only=True)['state_dict'], strict=True)
    images = torch.rand(1, next(model.parameters()).shape[1], 35, 45)
    with torch.no_grad():
        assert torch.equal(stock(images), model(images))
        assert stock(images).shape[2:] == (model.scale * 35, model.scale * 45)


@pytest.fixture(autouse=True)
def fast_text(monkeypatch):
    """mmengine formats the text of a config each time that it is written, which would take most of the time."""
    monkeypatch.setattr(mmengine.config.config, 'FormatCode', lambda text, **kwargs: (text, True))


@pytest.mark.parametrize(
    'name', [pytest.param(name, marks=() if name in EVERYDAY else pytest.mark.slow) for name in NAMES]
)
def test_is_distilled_or_refused(name, pairs, tmp_path, record_property):
    kind, cfg = inherit(tmp_path, name)
    reason = refusal(kind, cfg, name)
    if reason:
        with pytest.raises(ValueError, match=reason):
            check_config(cfg)
            check_training(cfg)
        record_property('mmagic_config', f'refused: {reason if kind == "BaseEditModel" else "no BaseEditModel"}')
        return
    check_config(cfg)
    check_parts(cfg)
    check_training(cfg)
    assert_stock_restores_alike(cfg, train_one_step(cfg, pairs, tmp_path), tmp_path)
    record_property('mmagic_config', f'distilled: {cfg.model.generator.type}')


def refusal(kind, cfg, name):
    """What the error must say, as mmagic's own documentation sorts the config; None where it qualifies."""
    if kind != 'BaseEditModel':
        return f'inherits a {kind}'
    return 'does not take one image' if cfg.model.generator.get('dual_pixel_task') else None


def test_the_everyday_configs_are_all_there():
    assert EVERYDAY <= set(NAMES) and len(NAMES) > 200

"""The configs of this project: their published numbers, their data, and the -tiny ones trained, tested and exported."""

import re
from pathlib import Path

import mmengine
import mmengine.config.config
import mmengine.runner.runner
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.runner import Runner

import mmsampriors
import mmsampriors.datasets.deterministic_loader  # noqa: F401
import mmsampriors.datasets.transforms  # noqa: F401
from mmsampriors.checks import config_check
from mmsampriors.checks.config_check import check_channel_order, check_config, check_training, trained_order
from mmsampriors.checks.pair_check import check_data
from mmsampriors.data_preparation.degradations import LowresSettings, make_lowres
from mmsampriors.data_preparation.pairs import make_pairs
from mmsampriors.registry import MODELS, TRANSFORMS
from mmsampriors.reports import sets_of

CONFIGS = Path(mmsampriors.__file__).resolve().parents[1] / 'configs'
NAMES = sorted(path.stem for path in (CONFIGS / 'spd').glob('*.py'))
TINY = [name for name in NAMES if name.endswith('-tiny')]
PUBLISHED = [name for name in NAMES if re.search(r'_\d+xb\d+-', name)]


@pytest.fixture(autouse=True)
def fast_text(monkeypatch):
    """mmengine formats the text of a config each time that it is written, which would take most of the time."""
    monkeypatch.setattr(mmengine.config.config, 'FormatCode', lambda text, **kwargs: (text, True))
    monkeypatch.setattr(mmengine.runner.runner, 'collect_env', dict)


def nodes(node):
    """All dicts of a config."""
    children = node.values() if isinstance(node, dict) else node if isinstance(node, (list, tuple)) else ()
    if isinstance(node, dict):
        yield node
    for child in children:
        yield from nodes(child)


def read(name):
    return Config.fromfile(CONFIGS / 'spd' / f'{name}.py')


def test_all_train_and_validate_on_rgb(monkeypatch):
    def fail(message):
        raise AssertionError(message)

    monkeypatch.setattr(config_check, 'warn', fail)
    orders = {}
    for name in NAMES:
        check_channel_order(cfg := read(name))
        orders[name] = trained_order(cfg)
    assert set(orders.values()) == {'rgb'}, orders


def test_matrix_is_complete():
    plain = {f'{network}_{task}' for network in ('restormer', 'nafnet') for task in ('derain', 'deblur', 'denoise')}
    published = {f'{one}_sr_x{scale}' for one in ('edsr', 'rdn', 'swinir') for scale in (2, 3, 4)} | {'msrresnet_sr_x4'}
    plain |= published
    others = {'dncnn_denoise-tiny', 'quickstart', 'restormer_derain_unlabeled', *PUBLISHED}
    others |= {'edsr_sr_x4_low_resolution_refiner'}
    assert plain | {f'{name}-tiny' for name in plain} | others == set(NAMES)
    listed = mmengine.load(CONFIGS / 'spd' / 'metafile.yml')['Models']
    assert {model['Name'] for model in listed} == {*PUBLISHED, *published}
    assert all((CONFIGS.parent / model['Config']).is_file() and 'Results' not in model for model in listed)
    readme = (CONFIGS / 'spd' / 'README.md').read_text()
    assert all(f'/{name}.py)' in readme for name in (*PUBLISHED, *published))


@pytest.mark.parametrize(
    'name', [pytest.param(name, marks=() if name in (*PUBLISHED, *TINY) else pytest.mark.slow) for name in NAMES]
)
def test_is_inherited_from_the_package_and_says_where_its_data_goes(name, tmp_path, monkeypatch):
    (tmp_path / 'user.py').write_text(f"_base_ = 'mmsampriors::spd/{name}.py'\n")
    cfg = Config.fromfile(tmp_path / 'user.py')
    check_config(cfg)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match=re.escape(cfg.data_help.split('\n')[0])):
        check_data(cfg)


@pytest.mark.parametrize('name', PUBLISHED)
def test_is_what_its_name_says(name):
    cfg = read(name)
    gpus, images, rate, thousands = re.search(r'_(\d+)xb(\d+)-lr([\de-]+)-(\d+)k_', name).groups()
    assert (cfg.train_dataloader.batch_size, cfg.train_cfg.max_iters) == (int(images), 1000 * int(thousands))
    assert cfg.optim_wrapper.optimizer.lr == float(rate) and int(gpus) == 8
    assert name in cfg.work_dir and name.split('_')[-1].split('-')[0] in cfg.model.spd.masks.cache_dir
    assert cfg.model.spd.masks.segmenter.model_type == 'vit_h'
    orders = [step.channel_order for step in cfg.train_dataloader.dataset.pipeline if step.type == 'LoadImageFromFile']
    assert orders == ['rgb', 'rgb']
    metrics = [node for node in nodes(cfg.val_evaluator) if node.get('type') == 'PSNR']
    assert [node.get('convert_to') for node in metrics] == ['Y' if 'rain13k' in name else None]
    tested = cfg.test_dataloader if isinstance(cfg.test_dataloader, list) else [cfg.test_dataloader]
    assert all(loader.dataset.data_root for loader in tested) and (len(tested) == 5 or 'rain13k' not in name)


@pytest.mark.parametrize('name', [name for name in NAMES if re.search(r'_sr_x\d$', name)])
def test_super_resolution_is_measured_on_y_without_a_border_of_the_scale(name):
    cfg = read(name)
    for evaluator in (cfg.val_evaluator, cfg.test_evaluator):
        metrics = [node for node in nodes(evaluator) if node.get('type') in ('PSNR', 'SSIM')]
        assert {(one.convert_to, one.crop_border) for one in metrics} == {('Y', int(name[-1]))}
    assert {one.settings for one in sets_of(cfg)} == {f'PSNR and SSIM on Y, without a border of {name[-1]} pixels'}


@pytest.mark.parametrize(
    'name, trained, tested',
    [('blind', [0, 50], 25), ('sigma15', [15, 15], 15), ('sigma25', [25, 25], 25), ('sigma50', [50, 50], 50)],
)
def test_gaussian_noise_has_the_published_strength(name, trained, tested):
    cfg = read(f'restormer_spd_8xb8-lr3e-4-300k_dfwb-color-{name}')
    steps = {
        id(loader): [step for step in loader.dataset.pipeline if step.type == 'RandomNoise']
        for loader in (cfg.train_dataloader, cfg.val_dataloader, *cfg.test_dataloader)
    }
    ranges = [step[0].params.gaussian_sigma for step in steps.values()]
    assert ranges == [trained] + [[tested, tested]] * 5
    noisy = TRANSFORMS.build(steps[id(cfg.val_dataloader)][0])(dict(img=np.full((99, 99, 3), 128, np.uint8)))['img']
    assert noisy.std() == pytest.approx(tested, rel=0.03)


class Measured(Hook):
    def __init__(self, metrics):
        self.metrics = metrics

    def after_test_epoch(self, runner, metrics=None):
        self.metrics.update(metrics)


def reduced(pairs, folder, scale):
    """The pairs with the ground truth, reduced by ``scale``, for input."""
    if scale > 1:
        make_pairs(pairs / 'target', folder / 'reduced', make_lowres, LowresSettings(scale=scale))
    return folder / 'reduced' if scale > 1 else pairs


def train_test_export(name, pairs, folder, segmenter=None):
    """Three iterations of a config on small pairs, a test, and the exported student in stock mmagic."""
    cfg = read(name)
    scale = cfg.get('scale', 1)
    pairs = reduced(pairs, folder, scale)
    cfg.model.spd.masks.segmenter = segmenter or cfg.model.spd.masks.segmenter
    for loader in (cfg.train_dataloader, cfg.val_dataloader, cfg.test_dataloader):
        loader.dataset.update(data_root=str(pairs))
    cfg.train_dataloader.dataset.pipeline[3].gt_patch_size = 32 if scale == 1 else 16 * scale
    cfg.train_cfg.update(max_iters=3, val_interval=3)
    cfg.default_hooks.checkpoint.interval = 3
    cfg.model.spd.masks.cache_dir = str(folder / 'masks')
    cfg.work_dir, cfg.experiment_name, cfg.log_level = str(folder / 'run'), f'{name}_{folder.name}', 'WARNING'
    check_config(cfg)
    check_training(cfg)
    check_data(cfg)
    runner, measured = Runner.from_cfg(cfg), {}
    runner.train()
    runner.register_hook(Measured(measured))
    runner.test()
    assert {'PSNR', 'SSIM'} <= set(measured) and measured['PSNR'] > 5
    stock = MODELS.build(Config.fromfile(folder / 'run' / 'student.py').model).eval()
    stock.load_state_dict(torch.load(folder / 'run' / 'student.pth', weights_only=True)['state_dict'], strict=True)
    images = torch.rand(1, 3, 35, 45)
    with torch.no_grad():
        assert torch.equal(stock(images), runner.model.eval()(images))
    assert type(stock).__name__ == 'BaseEditModel'


def test_a_tiny_config_trains_tests_and_exports(pairs, tmp_path):
    """The one whose network mmagic does not have, with a fast segmenter."""
    train_test_export('dncnn_denoise-tiny', pairs, tmp_path, dict(type='FelzenszwalbMasks', min_size=50))


@pytest.mark.slow
@pytest.mark.parametrize('name', [name for name in TINY if name != 'dncnn_denoise-tiny'])
def test_every_tiny_config_trains_tests_and_exports(name, pairs, tmp_path):
    train_test_export(name, pairs, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize('name', PUBLISHED)
def test_published_networks_can_be_distilled(name):
    check_training(read(name))

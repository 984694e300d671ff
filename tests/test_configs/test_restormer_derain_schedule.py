import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.optim import CosineAnnealingLR
from mmengine.runner import Runner
from mmengine.utils import import_modules_from_strings

import mmsampriors  # noqa: F401
from mmsampriors.data_preparation.degradations import RainSettings, add_rain
from mmsampriors.data_preparation.pairs import make_pairs

BASES = ['mmagic::restormer/restormer_official_rain13k.py', 'mmsampriors::_base_/schedules/restormer_derain.py']


def read_config(folder, bases):
    (folder / 'config.py').write_text(f'_base_ = {bases}\n')
    return Config.fromfile(folder / 'config.py')


@pytest.fixture
def config(tmp_path):
    config = read_config(tmp_path, BASES)
    import_modules_from_strings(['mmsampriors.datasets.deterministic_loader', 'mmsampriors.datasets.transforms'])
    return config


def test_joins_spd_and_mmagics_test_only_config_without_a_shared_key(tmp_path):
    both = read_config(tmp_path, [BASES[0], 'mmsampriors::_base_/spd.py', BASES[1]])
    assert both.train_cfg.max_iters == sum(both.train_dataloader.batch_sampler.iters) == 300_000
    assert len(both.test_dataloader) == 5 and both.spd and both.model.generator.type == 'Restormer'


def test_learning_rate_is_constant_and_then_a_cosine(config):
    settings = config.param_scheduler
    assert (settings.pop('type'), settings.pop('_scope_'), settings.pop('by_epoch')) == (
        'CosineAnnealingLR',
        'mmsampriors',
        False,
    )
    for key in ('begin', 'end', 'T_max'):  # a thousandth of the steps
        settings[key] //= 1000
    optimizer = torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))], lr=config.optim_wrapper.optimizer.lr)
    scheduler = CosineAnnealingLR(optimizer, by_epoch=False, **settings)
    rates = []
    for _ in range(300):
        rates.append(optimizer.param_groups[0]['lr'])
        optimizer.step()
        scheduler.step()
    np.testing.assert_allclose(rates[:92], 3e-4)
    expected = 1e-6 + (3e-4 - 1e-6) * (1 + np.cos(np.pi * np.arange(208) / 208)) / 2
    np.testing.assert_allclose(rates[92:], expected, atol=3e-6)
    assert rates[-1] < 2e-6


class Watch(Hook):
    def __init__(self):
        self.shapes, self.values = [], None

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        gts = [sample.gt_img.shape for sample in data_batch['data_samples']]
        inputs = [tuple(image.shape) for image in data_batch['inputs']]
        assert list(map(tuple, gts)) == inputs
        self.shapes.append(inputs)

    def after_val_epoch(self, runner, metrics=None):
        self.values = metrics


def make_rain13k(folder):
    (folder / 'photographs').mkdir()
    rng = np.random.default_rng(0)
    for number in range(3):
        smooth = cv2.resize(rng.integers(256, size=(5, 6, 3), dtype=np.uint8), (40, 24))
        cv2.imwrite(str(folder / f'photographs/{number}.png'), smooth)
    make_pairs(folder / 'photographs', folder / 'rain', add_rain, RainSettings())
    return str(folder / 'rain')


def test_a_runner_trains_and_validates_with_it(config, tmp_path):
    """All three stages of a shrunk plan, with images that are smaller than the last patch."""
    data_root = make_rain13k(tmp_path)
    for loader in (config.train_dataloader, config.val_dataloader):
        loader.num_workers, loader.dataset.data_root = 0, data_root
    config.train_dataloader.batch_size = 3
    config.train_dataloader.batch_sampler.update(batch_sizes=[3, 2, 1], patch_sizes=[16, 24, 32], iters=[2, 1, 1])
    config.train_cfg.update(max_iters=5, val_interval=5)
    config.model.generator.update(dim=8, num_blocks=[1, 1, 1, 1], num_refinement_blocks=1)
    config.custom_hooks, config.work_dir = [], str(tmp_path / 'work')
    config.default_hooks.checkpoint.out_dir = config.work_dir
    for key in ('test_dataloader', 'test_evaluator', 'test_cfg'):
        config.pop(key)
    watch = Watch()
    runner = Runner.from_cfg(config)
    runner.register_hook(watch)
    runner.train()
    assert watch.shapes == [[(3, 16, 16)] * 3] * 2 + [[(3, 24, 24)] * 2] + [[(3, 32, 32)]] * 2
    assert set(watch.values) == {'PSNR', 'SSIM'}

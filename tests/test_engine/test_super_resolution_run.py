"""A whole training of a network that enlarges: all hooks, panels, metrics, photographs without ground truth, resume."""

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.runner import Runner
from networks import enlarging

from mmsampriors.checks.config_check import check_training
from mmsampriors.checks.pair_check import check_data
from mmsampriors.data_preparation.degradations import LowresSettings, make_lowres
from mmsampriors.data_preparation.pairs import make_pairs
from mmsampriors.engine.hooks import monitoring
from mmsampriors.engine.rehearsal import rehearse
from mmsampriors.registry import MODELS

MASKS = dict(type='CachedMasks', segmenter=dict(type='FelzenszwalbMasks', min_size=50), source='gt')
HOOKS = [
    dict(type='mmsampriors.MaskCacheHook'),
    dict(type='mmsampriors.ExactResumeHook'),
    dict(type='mmsampriors.RefinedPSNRHook'),
    dict(type='mmsampriors.SPDVisualizationHook', num_images=1),
    dict(type='mmsampriors.ExportStudentHook'),
]


@pytest.fixture
def panels(monkeypatch):
    drawn = []
    monkeypatch.setattr(
        monitoring, 'draw_panel', lambda rows, notes=None: drawn.append(rows['image']) or np.zeros((8, 8, 3), np.uint8)
    )
    return drawn


@pytest.fixture
def cfg_of(runner_cfg, pairs, tmp_path, monkeypatch):
    """A function that makes the config of a training at a scale."""

    def make(family, scale, average):
        small = tmp_path / f'x{scale}'
        make_pairs(pairs / 'target', small, make_lowres, LowresSettings(scale=scale))
        cfg = runner_cfg(schedule=dict(type='TwoStageSchedule', warmup=0.0, refiner=0.5), hooks=[*HOOKS, average])
        cfg['model'].update(generator=enlarging(family, scale))
        cfg['model']['spd']['masks'] = masks = dict(MASKS, cache_dir=str(tmp_path / 'masks'))
        for loader in ('train_dataloader', 'val_dataloader'):
            cfg[loader]['dataset']['data_root'] = str(small)
        *_, values, crop, _ = cfg['train_dataloader']['dataset']['pipeline']
        values['dictionary'], crop['gt_patch_size'] = dict(scale=scale), 12 * scale
        photographs = dict(folders=[str(small / 'input')], per_pair=0.5)
        cfg['custom_hooks'].append(dict(type='mmsampriors.UnlabeledHook', **photographs))
        cfg['optim_wrapper'].update(type='mmsampriors.CPUAmpOptimWrapper', accumulative_counts=2)
        border = dict(type='mmsampriors.BorderPSNR', crop_border=scale, convert_to='Y', masks=masks)
        segments = dict(type='mmsampriors.SegmentationConsistency', masks=masks)
        cfg['val_evaluator'] = [dict(type='PSNR', crop_border=scale), border, segments]
        return Config(cfg)

    return make


@pytest.mark.parametrize('family, scale', [('edsr', 2), ('swinir', 4)])
def test_trains_validates_resumes_and_exports(cfg_of, family, scale, tmp_path, panels):
    cfg = cfg_of(family, scale, dict(type='mmsampriors.BlendStudentHook', end_weight=0.5))
    check_training(cfg)
    check_data(cfg)
    assert 'student' in rehearse(Config({**cfg.to_dict(), 'experiment_name': 'rehearsed'}))  # a name of its own
    runner = Runner.from_cfg(Config(cfg.to_dict()))
    runner.train()
    scores = {name: value.current() for name, value in runner.message_hub.log_scalars.items()}
    for name in ('train/student.loss_recon', 'train/spd.loss_image', 'val/PSNR', 'val/refined/PSNR'):
        assert np.isfinite(scores[name]), name
    assert 0 <= scores['val/SegIoU'] <= 1 and scores['val/BorderPSNR'] > 5
    panel, small = panels[0], cv2.imread(str(tmp_path / f'x{scale}' / 'input' / 'astronaut.png'))[..., ::-1]
    assert {image.shape for image in panel.values()} == {(72, 64, 3)}
    np.testing.assert_array_equal(panel['lq'][::scale, ::scale], small)
    stock = MODELS.build(Config.fromfile(tmp_path / 'work' / 'student.py').model).eval()
    student = torch.load(tmp_path / 'work' / 'student.pth', weights_only=True)['state_dict']
    stock.load_state_dict(student, strict=True)
    with torch.no_grad():
        assert stock(torch.rand(1, 3, 9, 11)).shape == (1, 3, 9 * scale, 11 * scale)


def test_a_resumed_run_is_the_one_that_was_not_interrupted(cfg_of, tmp_path, panels):
    cfg = cfg_of('edsr', 2, dict(type='EMAHook'))
    cfg.default_hooks.checkpoint.interval = 2
    Runner.from_cfg(Config({**cfg.to_dict(), 'work_dir': str(tmp_path / 'whole')})).train()
    whole = torch.load(tmp_path / 'whole' / 'iter_4.pth', weights_only=False)['state_dict']
    again = Config({**cfg.to_dict(), 'work_dir': str(tmp_path / 'again'), 'resume': True})
    again.load_from, again.experiment_name = str(tmp_path / 'whole' / 'iter_2.pth'), 'again'
    Runner.from_cfg(again).train()
    resumed = torch.load(tmp_path / 'again' / 'iter_4.pth', weights_only=False)['state_dict']
    assert all(torch.equal(resumed[name], value) for name, value in whole.items())


def test_what_does_not_fit_the_scale_is_refused(cfg_of):
    cfg = cfg_of('edsr', 2, dict(type='EMAHook'))
    pipeline = cfg.train_dataloader.dataset.pipeline
    pipeline[2].dictionary.scale = 4
    with pytest.raises(ValueError, match='enlarges by 2, and SetValues in the train pipeline says scale=4'):
        check_training(cfg)
    pipeline[2].dictionary.scale, pipeline[3].gt_patch_size = 2, 25
    with pytest.raises(ValueError, match='gt_patch_size=25, and .* enlarges by 2: take a multiple of 2, such as 24'):
        check_training(cfg)
    pipeline[3].gt_patch_size = 24
    cfg.custom_hooks[-1].cascade = 2
    with pytest.raises(ValueError, match='enlarges by 2, .* UnlabeledHook.cascade must be 1'):
        check_training(cfg)
    cfg.custom_hooks[-1].cascade = 1
    cfg.model.spd.masks.source = 'lq'
    with pytest.raises(ValueError, match=r"model\.spd\.masks\.source='lq' .*Take source='gt', or source='restored'"):
        check_training(cfg)

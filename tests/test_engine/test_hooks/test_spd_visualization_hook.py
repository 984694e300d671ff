from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.runner import Runner

import mmsampriors.engine  # noqa: F401
from mmsampriors.engine.hooks import monitoring as module


class Scores(Hook):
    """Notes the result of each validation."""

    def __init__(self, scores):
        self.scores = scores

    def after_val_epoch(self, runner, metrics=None):
        self.scores.append(metrics)


@pytest.fixture
def drawn(monkeypatch):
    """The images that go into each panel, instead of slow drawings of them."""
    panels = []

    def draw(rows, notes=None):
        panels.append(rows['image'])
        return np.zeros((8, 8, 3), np.uint8)

    monkeypatch.setattr(module, 'draw_panel', draw)
    return panels


def rgb(path):
    return cv2.imread(str(path))[..., ::-1]


@pytest.mark.parametrize('order', ['rgb', 'bgr'])
def test_panels_show_lq_restored_masks_refined_and_gt_in_true_colours(runner_cfg, pairs, drawn, order):
    cfg = runner_cfg(hooks=[dict(type='mmsampriors.SPDVisualizationHook', num_images=3)], max_iters=2)
    for step in cfg['val_dataloader']['dataset']['pipeline'][:2]:
        step['channel_order'] = order
    cfg['visualizer'] = dict(
        type='ConcatImageVisualizer', vis_backends=[dict(type='LocalVisBackend')], fn_key='gt_path', img_keys=['gt_img']
    )
    cfg['train_cfg']['val_interval'] = 2
    runner = Runner.from_cfg(Config(cfg))
    runner.train()
    dataset = runner.val_loop.dataloaders[0].dataset
    names = [Path(dataset.get_data_info(index)['img_path']).stem for index in range(3)]
    written = sorted(path.name for path in Path(cfg['work_dir']).rglob('spd_*.png'))
    assert written == sorted(f'spd_{name}_2.png' for name in names)
    for panel, name in zip(drawn, names, strict=True):
        assert list(panel) == ['lq', 'restored', 'masks', 'refined', 'gt']
        assert np.array_equal(panel['gt'], rgb(pairs / 'target' / f'{name}.png'))
        assert np.array_equal(panel['lq'], rgb(pairs / 'input' / f'{name}.png'))
        assert not np.array_equal(panel['restored'], panel['lq'])
        assert not np.array_equal(panel['masks'], panel['restored'])
        lq = torch.from_numpy(panel['lq'].copy()).permute(2, 0, 1)[None] / 255
        with torch.no_grad():
            restored = runner.model.generator(lq if order == 'rgb' else lq.flip(1))
        restored = restored if order == 'rgb' else restored.flip(1)
        expected = (restored[0].clamp(0, 1) * 255).permute(1, 2, 0).numpy()
        assert np.abs(panel['restored'] - expected).max() <= 0.51


def test_a_real_panel_is_drawn_and_leaves_the_validation_as_it_was(runner_cfg):
    scores = []
    for hooks in ([], [dict(type='mmsampriors.SPDVisualizationHook', num_images=1)]):
        cfg = runner_cfg(hooks=hooks)
        # runner.val() of mmengine 0.10.7 fails where a best checkpoint is asked for.
        del cfg['default_hooks']['checkpoint']['save_best']
        runner = Runner.from_cfg(Config(cfg))
        runner.register_hook(Scores(scores))
        runner.val()
    assert scores[0] == scores[1] and scores[0]['PSNR'] > 5
    (written,) = Path(cfg['work_dir']).rglob('spd_*.png')
    panel = rgb(written)
    assert panel.shape[1] > 3 * panel.shape[0] > 300 and panel.std() > 20

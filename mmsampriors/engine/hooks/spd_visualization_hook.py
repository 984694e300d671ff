"""Panels of the first validation images."""
from copy import deepcopy

import torch
from mmagic.registry import HOOKS
from mmengine.dist import master_only
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper

from mmsampriors.visualization import draw_masks, draw_panel


@HOOKS.register_module()
class SPDVisualizationHook(Hook):
    """Draws lq | restored | masks | refined | gt during validation, to every vis backend.

    Args:
        num_images (int): Batches of the validation set to draw, from its first one on.
    """

    def __init__(self, num_images: int = 4):
        self.num_images = num_images

    @master_only
    def before_val_iter(self, runner, batch_idx, data_batch=None):
        """Draws before the model sees the batch, which it changes in place."""
        if batch_idx >= self.num_images:
            return
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        name, panel = self.panel(model, data_batch)
        runner.visualizer.add_image(f'spd_{name}', panel, runner.iter)

    @torch.no_grad()
    def panel(self, model, data_batch):
        """The name of the first image of a batch, and its panel, (H, W, 3), uint8, RGB."""
        data = model.data_preprocessor(deepcopy(data_batch), False)
        lq, samples = data['inputs'], data['data_samples']
        gt = samples.gt_img.to(lq.device)
        restored = model.generator(lq)
        masks = model.masks_of(restored, samples)
        refined = model.refine(restored, masks)
        # The preprocessor leaves the ground truth of validation in 0..255.
        images = dict(lq=lq, restored=restored, refined=refined)
        arrays = {title: _array(model.to_rgb(image, samples)[0]) for title, image in images.items()}
        panel = dict(
            lq=arrays['lq'],
            restored=arrays['restored'],
            masks=draw_masks(arrays['restored'], masks[0]),
            refined=arrays['refined'],
            gt=_array(_gt_rgb(gt, samples)[0]))
        return samples.metainfo['img_path'][0].split('/')[-1].rsplit('.', 1)[0], draw_panel(dict(image=panel))


def _gt_rgb(gt, samples):
    if gt.shape[1] == 1:
        return gt.expand(-1, 3, -1, -1) / 255
    return (gt if samples.metainfo['gt_img_output_channel_order'][0].upper() == 'RGB' else gt.flip(1)) / 255


def _array(image):
    return (image.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).cpu().numpy()

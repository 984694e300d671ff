"""Panels of the first validation images."""

import os.path as osp

from mmengine.dist import master_only
from mmengine.hooks import Hook

from mmsampriors.models.unwrapped import unwrapped
from mmsampriors.registry import HOOKS
from mmsampriors.visualization import draw_masks, draw_panel

from ..refined_outputs import RefinedOutputs


@HOOKS.register_module()
class SPDVisualizationHook(Hook):
    """Draws lq | restored | masks | refined | gt during validation, to every vis backend.

    Args:
        num_images (int): Batches of the validation set to draw, from its first one on.
    """

    #: MaskCacheHook stores the masks of the first ``num_images`` before training, if the mask source is a stored one.
    refined_in_validation = True

    def __init__(self, num_images: int = 4):
        self.num_images = num_images

    def before_val_epoch(self, runner):
        self.refined = RefinedOutputs(unwrapped(runner.model))

    @master_only
    def after_val_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        if batch_idx >= self.num_images:
            return
        self.refined.add_to(outputs)
        name = osp.splitext(osp.basename(outputs[0].img_path))[0]
        runner.visualizer.add_image(f'spd_{name}', _panel(outputs[0]), runner.iter)

    def after_val_epoch(self, runner, metrics=None):
        self.refined.close()


def _panel(output):
    """The panel of an image of validation, (H, W, 3), uint8, RGB."""
    images = dict(lq=output.input, restored=output.output.pred_img, refined=output.refined_img, gt=output.gt_img)
    arrays = {title: _array(image) for title, image in images.items()}
    masks = draw_masks(arrays['restored'], output.refined_masks)
    return draw_panel(
        dict(
            image={
                title: masks if title == 'masks' else arrays[title]
                for title in ('lq', 'restored', 'masks', 'refined', 'gt')
            }
        )
    )


def _array(image):
    """(C, H, W) in [0, 255], BGR or gray as mmagic's models put images out, to (H, W, 3), uint8, RGB."""
    image = image.flip(0) if len(image) == 3 else image.expand(3, -1, -1)
    return image.clamp(0, 255).round().byte().permute(1, 2, 0).cpu().numpy()

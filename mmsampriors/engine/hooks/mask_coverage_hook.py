"""Whether masks cover the images."""

from mmengine.hooks import Hook

from mmsampriors.models.mask_sources import NoMasks
from mmsampriors.models.unwrapped import unwrapped
from mmsampriors.registry import HOOKS


@HOOKS.register_module()
class MaskCoverageHook(Hook):
    """Logs the share of pixels that masks cover (``spd.coverage``), and warns once where it is small on average.

    Args:
        minimum (float): Share, in [0, 1], below which the warning comes.
        interval (int): Iterations between two readings.
        readings (int): Readings that the average is over.
    """

    def __init__(self, minimum: float = 0.1, interval: int = 10, readings: int = 10):
        self.minimum, self.interval, self.readings, self.warned = minimum, interval, readings, False

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        model = unwrapped(runner.model)
        if (
            model.coverage is None
            or isinstance(model.mask_source, NoMasks)
            or not self.every_n_train_iters(runner, self.interval)
        ):
            return
        runner.message_hub.update_scalar('train/spd.coverage', model.coverage)
        history = runner.message_hub.get_scalar('train/spd.coverage')
        share = history.mean(self.readings)
        if self.warned or len(history.data[0]) < self.readings or share >= self.minimum:
            return
        self.warned = True
        runner.logger.warning(
            f'masks cover {share:.1%} of the pixels on average (spd.coverage), so the refiner sees hardly more than '
            'the image. Ways out: larger patches; masks of the ground truth (model.spd.masks.source=gt); a segmenter '
            'that keeps more masks (for SAMMasks lower engine.pred_iou_thresh and engine.stability_score_thresh, or '
            'raise engine.points_per_side)'
        )

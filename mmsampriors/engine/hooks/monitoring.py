"""Hooks that watch a training: finite losses, mask coverage, PSNR gain of the refiner, pictures, time left."""

import copy
import math
import os.path as osp

import torch
from mmagic.evaluation import PSNR
from mmengine.dist import all_reduce, get_dist_info, master_only
from mmengine.hooks import CheckpointHook, Hook

from mmsampriors.masks import draw_masks
from mmsampriors.models.mask_sources import NoMasks
from mmsampriors.models.networks import unwrapped
from mmsampriors.registry import HOOKS
from mmsampriors.reports.plots import as_squares, draw_panel

from ..testing import RefinedOutputs

FINITE_REMEDIES = (
    'look at these images; or go on from that checkpoint (--resume) with clipped gradients '
    '(--cfg-options optim_wrapper.clip_grad.max_norm=1) or, with --amp, in bfloat16 (optim_wrapper.dtype=bfloat16); '
    'or start a new run from its weights (load_from) with a smaller learning rate (optim_wrapper.optimizer.lr)'
)


@HOOKS.register_module()
class FiniteLossHook(Hook):
    """Stops training where a loss is not finite, or where a checkpoint would hold weights that are not.

    No such checkpoint is written, nor is an older one removed for it.
    """

    # Before CheckpointHook.
    priority = 'HIGH'

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        # The logger has waited for this number already.
        if not torch.isfinite(torch.as_tensor(outputs['loss'])):
            names = ', '.join(_names(data_batch))
            raise FloatingPointError(
                f'iteration {runner.iter + 1}: {_not_finite(outputs)}, from the images {names}. '
                f'{_last_good(runner)} Ways out: {FINITE_REMEDIES}'
            )
        if _saves_now(runner) or self.is_last_train_iter(runner):  # then the student is exported
            _check_weights(runner, runner.iter + 1)

    def after_train_epoch(self, runner):
        if any(isinstance(hook, CheckpointHook) and hook.by_epoch for hook in runner.hooks):
            _check_weights(runner, runner.iter)


def _not_finite(outputs):
    """The losses that are to blame; their sum, ``loss``, where none of them is."""
    values = {name: float(torch.as_tensor(value).detach()) for name, value in outputs.items()}
    found = [f'{name} is {value}' for name, value in values.items() if name != 'loss' and not math.isfinite(value)]
    return ', '.join(found) or f'loss is {values["loss"]}'


def _check_weights(runner, iteration):
    model = unwrapped(runner.model)
    bad = [name for name, value in model.state_dict().items() if not torch.isfinite(value).all()]
    if bad:
        raise FloatingPointError(
            f'iteration {iteration}: {len(bad)} weights are not finite, the first of them '
            f'{bad[0]}, though the loss is: a gradient was not. {_last_good(runner)} Ways out: '
            f'{FINITE_REMEDIES}'
        )


def _saves_now(runner):
    saving = (hook for hook in runner.hooks if isinstance(hook, CheckpointHook) and not hook.by_epoch)
    return any(hook.every_n_train_iters(runner, hook.interval) for hook in saving)


def _last_good(runner):
    path = runner.message_hub.runtime_info.get('last_ckpt')
    return f'The last checkpoint before is {path}.' if path else 'There is no checkpoint yet.'


def _names(data_batch):
    samples = (sample.metainfo for sample in data_batch['data_samples'])
    return [str(meta.get('img_path') or meta.get('gt_path', '(unknown)')) for meta in samples]


def _mean_reading(hook, runner, name, value):
    """Logs a value where the hook is due for one; gives the mean of its last ``readings`` once there are so many."""
    if value is None or not hook.every_n_train_iters(runner, hook.interval):
        return None
    runner.message_hub.update_scalar(name, value)
    history = runner.message_hub.get_scalar(name)
    return history.mean(hook.readings) if len(history.data[0]) >= hook.readings else None


@HOOKS.register_module()
class MaskCoverageHook(Hook):
    """Logs the share of pixels that masks cover (``spd.mask_coverage``), and warns once where it is small on average.

    Args:
        minimum (float): Share, in [0, 1], below which the warning comes.
        interval (int): Iterations between two readings.
        readings (int): Readings that the average is over.
    """

    def __init__(self, minimum: float = 0.1, interval: int = 10, readings: int = 10):
        self.minimum, self.interval, self.readings, self.warned = minimum, interval, readings, False

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        model = unwrapped(runner.model)
        if isinstance(model.mask_source, NoMasks):
            return
        share = _mean_reading(self, runner, 'train/spd.mask_coverage', model.mask_coverage)
        if self.warned or share is None or share >= self.minimum:
            return
        self.warned = True
        runner.logger.warning(
            f'masks cover {share:.1%} of the pixels on average (spd.mask_coverage), so the refiner sees '
            'hardly more than the image. Ways out: larger patches; masks of the ground truth '
            '(model.spd.masks.source=gt); a segmenter '
            'that keeps more masks (for SAMMasks lower engine.pred_iou_thresh and engine.stability_score_thresh, or '
            'raise engine.points_per_side)'
        )


GAIN_REMEDIES = (
    'give the refiner a longer stage (model.spd.schedule.refiner of TwoStageSchedule), let distillation begin '
    'later (model.spd.schedule.begin of JointSchedule), or start from a trained student (load_from)'
)


@HOOKS.register_module()
class PSNRGainHook(Hook):
    """Logs by how many dB the refined images of a batch beat the restored ones (``spd.psnr_gain``).

    It warns once, when distillation sets in, where they do not: the student would learn from a worse image.

    Args:
        interval (int): Iterations between two readings, which wait for the device.
        readings (int): Readings that the warning looks at.
    """

    def __init__(self, interval: int = 10, readings: int = 10):
        self.interval, self.readings, self.judged = interval, readings, False

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        model = unwrapped(runner.model)
        gain = _mean_reading(self, runner, 'train/spd.psnr_gain', model.psnr_gain)
        if self.judged or not model.phase.ramp or gain is None:
            return
        self.judged = True
        if gain <= 0:
            runner.logger.warning(
                f'The student learns from the refiner now, and the refiner is not better than the student: {gain:+.3f} '
                f'dB over the last {self.readings} readings (spd.psnr_gain). Ways out: {GAIN_REMEDIES}'
            )


@HOOKS.register_module()
class RefinedPSNRHook(Hook):
    """Adds ``refined/PSNR`` and ``refined/PSNR_gain``, its lead over the student on the same images, to validations.

    Both are in dB, by the PSNR metric of the config (borders, colour space), and means over the first images of the
    validation; an image that a sampler repeats, so that all ranks have as many, counts once. A gain of zero or less
    means that the refiner has nothing to teach.

    Args:
        num_images (int): Images to refine, shared by the ranks: each costs a run of segmenter and refiner.
    """

    # Before the hooks that log the metrics or choose the best checkpoint by them.
    priority = 'HIGHEST'

    #: MaskCacheHook stores the masks of the first ``num_images`` before training, if the mask source is a stored one.
    refined_in_validation = True

    def __init__(self, num_images: int = 32):
        self.num_images = num_images

    def before_val_epoch(self, runner):
        self.scores, self.refined_images, self.position_in = [], 0, {}
        self.refined = RefinedOutputs(unwrapped(runner.model))

    def after_val_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        if self.refined_images >= self.num_images:
            return
        once = self._not_repeated(runner.val_loop.dataloader, outputs)
        if once:
            self.refined.add_to(outputs)
        metric = copy.copy(_psnr_of(runner.val_loop))
        metric.results = []
        for output in once:
            student = output.to_dict()
            refined = {**student, 'output': {**student['output'], metric.pred_key: output.refined_img}}
            metric.process(None, [student, refined])
        scores = [result[metric.metric] for result in metric.results]
        self.scores += zip(scores[::2], scores[1::2])

    def _not_repeated(self, loader, outputs):
        """The outputs of a batch without those that the sampler has added to the end of the data set.

        As mmengine's metrics do, this takes position p of the order for an image where p is below the data set's size,
        and rank r of n to have the positions r, r + n, r + 2n, ...
        """
        (rank, world_size), size = get_dist_info(), len(loader.dataset)
        first = self.position_in.get(id(loader), rank)
        positions = range(first, first + len(outputs) * world_size, world_size)
        self.position_in[id(loader)] = positions.stop
        self.refined_images += len(outputs) * world_size
        return [output for output, position in zip(outputs, positions) if position < size]

    def after_val_epoch(self, runner, metrics=None):
        self.refined.close()
        scores = [[1.0, student, refined] for student, refined in self.scores]
        sums = torch.tensor(scores).view(len(scores), 3).sum(0)  # a rank may have none
        all_reduce(sums)
        count, student, refined = sums.tolist()
        if count:
            metrics.update({'refined/PSNR': refined / count, 'refined/PSNR_gain': (refined - student) / count})


def _psnr_of(loop):
    # mmagic's loop of several data sets has the evaluator at hand only while it runs.
    evaluator = loop.evaluator if hasattr(loop, 'evaluator') else loop.evaluators[0]
    return next((metric for metric in evaluator.metrics if isinstance(metric, PSNR)), None) or PSNR()


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
        path = outputs[0].get('img_path') or outputs[0].get('gt_path')
        name = osp.splitext(osp.basename(path))[0]
        runner.visualizer.add_image(f'spd_{name}', _panel(outputs[0]), runner.iter)

    def after_val_epoch(self, runner, metrics=None):
        self.refined.close()


def _panel(output):
    """The panel of an image of validation, (H, W, 3), uint8, RGB."""
    images = dict(lq=output.input, restored=output.output.pred_img, refined=output.refined_img, gt=output.gt_img)
    arrays = {title: _array(image) for title, image in images.items()}
    arrays['lq'] = as_squares(arrays['lq'], len(arrays['restored']) // len(arrays['lq']))
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


@HOOKS.register_module()
class TimeLeftHook(Hook):
    """Updates the time left at each iteration.

    mmagic 1.2.0's IterTimerHook updates it every 100 iterations: not at all before, and standing still between. Here it
    is the mean time of the last iterations, those of the present stage only, times the iterations that are left.
    """

    # After IterTimerHook (NORMAL), before LoggerHook (BELOW_NORMAL).
    priority = 55
    WINDOW = 100  # iterations

    def before_train(self, runner):
        self.stage, self.count = None, 0

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        stage = runner.message_hub.log_scalars.get('train/spd.stage')
        stage = stage and stage.current()
        self.count = self.count + 1 if stage == self.stage else 1
        self.stage = stage
        seconds = runner.message_hub.get_scalar('train/time').mean(min(self.count, self.WINDOW))
        runner.message_hub.update_info('eta', seconds * (runner.max_iters - runner.iter - 1))

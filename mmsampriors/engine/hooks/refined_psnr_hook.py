"""How much better the refined images are, at each validation."""

import copy

import torch
from mmagic.evaluation import PSNR
from mmengine.dist import all_reduce, get_dist_info
from mmengine.hooks import Hook

from mmsampriors.models.unwrapped import unwrapped
from mmsampriors.registry import HOOKS

from ..refined_outputs import RefinedOutputs


@HOOKS.register_module()
class RefinedPSNRHook(Hook):
    """Adds ``refined/PSNR`` and ``refined/gain``, its lead over the student on the same images, to each validation.

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

    @property
    def has_enough(self) -> bool:
        """Whether all images that it looks at have been refined."""
        return self.refined_images >= self.num_images

    def after_val_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        if self.has_enough:
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
            metrics.update({'refined/PSNR': refined / count, 'refined/gain': (refined - student) / count})


def _psnr_of(loop):
    # mmagic's loop of several data sets has the evaluator at hand only while it runs.
    evaluator = loop.evaluator if hasattr(loop, 'evaluator') else loop.evaluators[0]
    return next((metric for metric in evaluator.metrics if isinstance(metric, PSNR)), None) or PSNR()

"""How much better the refined images are, at each validation."""

import copy

import torch
from mmagic.evaluation import PSNR
from mmengine.dist import all_reduce, get_world_size
from mmengine.hooks import Hook

from mmsampriors.models.unwrapped import unwrapped
from mmsampriors.registry import HOOKS

from ..refined_outputs import RefinedOutputs


@HOOKS.register_module()
class RefinedPSNRHook(Hook):
    """Adds ``refined/PSNR`` and ``refined/gain``, its lead over the student on the same images, to each validation.

    Both are in dB, by the PSNR metric of the config (borders, colour space), and means over the first images of the
    validation. A gain of zero or less means that the refiner has nothing to teach.

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
        self.scores = []
        self.refined = RefinedOutputs(unwrapped(runner.model))

    def after_val_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        if len(self.scores) * get_world_size() >= self.num_images:
            return
        self.refined.add_to(outputs)
        metric = copy.copy(_psnr_of(runner.val_loop.evaluator))
        metric.results = []
        for output in outputs:
            student = output.to_dict()
            refined = {**student, 'output': {**student['output'], metric.pred_key: output.refined_img}}
            metric.process(None, [student, refined])
        scores = [result[metric.metric] for result in metric.results]
        self.scores += zip(scores[::2], scores[1::2])

    def after_val_epoch(self, runner, metrics=None):
        self.refined.close()
        scores = [[1.0, student, refined] for student, refined in self.scores]
        sums = torch.tensor(scores).view(len(scores), 3).sum(0)  # a rank may have none
        all_reduce(sums)
        count, student, refined = sums.tolist()
        if count:
            metrics.update({'refined/PSNR': refined / count, 'refined/gain': (refined - student) / count})


def _psnr_of(evaluator):
    return next((metric for metric in evaluator.metrics if isinstance(metric, PSNR)), None) or PSNR()

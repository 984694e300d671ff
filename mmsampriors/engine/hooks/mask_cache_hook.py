"""Stored masks, with no change to the inherited config."""

import torch
from mmengine.dist import get_dist_info
from mmengine.hooks import Hook
from mmengine.logging import print_log

from mmsampriors.datasets.stored_masks import carry_masks, fill_masks
from mmsampriors.engine.mask_restorer import restorer_of
from mmsampriors.engine.waiting_for_ranks import all_through
from mmsampriors.models.unwrapped import unwrapped
from mmsampriors.registry import HOOKS
from mmsampriors.upstream_internals import restart_order, stop_workers

from .exact_resume_hook import ExactResumeHook


@HOOKS.register_module()
class MaskCacheHook(Hook):
    """Before training: computes stored masks that are missing, and makes the train pipeline carry them.

    So are the masks of the validation images that RefinedPSNRHook and SPDVisualizationHook look at, and those of all
    validation images where a metric takes them (:class:`mmsampriors.evaluation.MaskMetric`).

    Does nothing where ``model.spd.masks`` is an online source or NoMasks. In a distributed run the ranks share the
    work and wait for each other outside of any collective, whose timeout would end the run. Runs in ``before_train``,
    the first moment at which only training is meant: ``before_run`` precedes testing too.

    Args:
        batch_size (int): Images handed to the segmenter at once. Default: 1.
        neutral (list[str]): Names of transforms, besides the known ones, that keep every pixel in its place.
            Default: ().
    """

    priority = 'VERY_HIGH'

    def __init__(self, batch_size: int = 1, neutral: list = ()):
        self.batch_size, self.neutral = batch_size, tuple(neutral)

    def before_train(self, runner) -> None:
        source = stored_source(runner.model)
        if source is None:
            return
        dataset = runner.train_loop.dataloader.dataset
        carry_masks(dataset, source, self.neutral)  # first: what is refused is refused before hours of work
        with all_through('computing masks'):
            filled = fill_masks(
                dataset,
                source,
                restorer_of(runner.cfg, source, dataset),
                validation=looked_at_in_validation(runner, source),
                worker=get_dist_info(),
                batch_size=self.batch_size,
                device=next(runner.model.parameters()).device,
            )
        print_log(f'stored masks: {filled.ready} images had them, {filled.computed} got them now', 'current')
        if not any(isinstance(hook, ExactResumeHook) for hook in runner.hooks):  # which makes a loader of its own
            restart_workers(runner.train_loop)


def looked_at_in_validation(runner, source) -> tuple:
    """The first dataset of validation, and how many of its first images hooks refine, or metrics want segmented."""
    loop = runner.val_loop
    if loop is None:
        return None, 0
    # mmagic's loop has several loaders and evaluators, mmengine's one.
    several = hasattr(loop, 'dataloaders')
    loader, evaluator = (loop.dataloaders[0], loop.evaluators[0]) if several else (loop.dataloader, loop.evaluator)
    if any(metric.takes_masks_of(source) for metric in evaluator.metrics if hasattr(metric, 'takes_masks_of')):
        return loader.dataset, len(loader.dataset)
    counts = [hook.num_images for hook in runner.hooks if hasattr(hook, 'refined_in_validation')]
    return loader.dataset, max(counts, default=0) * (loader.batch_size or 1)


def stored_source(model):
    """The mask source of a (wrapped) SPDModel where it is a stored one, else None."""
    model = unwrapped(model)
    source = getattr(model, 'mask_source', None)
    return source if getattr(source, 'stored', False) else None


def restart_workers(loop) -> None:
    """Makes worker processes that an iteration-based loop started in its constructor see the dataset as it is now.

    The order of the samples starts anew, and torch's random state stays as it was.
    """
    if not loop.dataloader.num_workers or not hasattr(loop, 'dataloader_iterator'):
        return
    kind = type(loop.dataloader_iterator)
    stop_workers(loop)
    for sampler in (loop.dataloader.sampler, getattr(loop.dataloader.batch_sampler, 'sampler', None)):
        restart_order(sampler)  # the old workers drew from its one stream
    state = torch.get_rng_state()
    loop.dataloader_iterator = kind(loop.dataloader)
    torch.set_rng_state(state)

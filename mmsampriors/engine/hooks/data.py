"""Hooks on the data of a training: stored masks, and photographs without ground truth."""

from typing import Optional, Sequence

import torch
from mmengine.dist import get_dist_info
from mmengine.hooks import Hook
from mmengine.logging import print_log

from mmsampriors.compat.upstream import accumulated_iterations, restart_order, stop_workers
from mmsampriors.datasets.deterministic_loader import end_workers_with_parent, loader_like
from mmsampriors.datasets.stored_masks import carry_masks, fill_masks
from mmsampriors.datasets.unlabeled import UnlabeledPhotographs, WithUnlabeled, photographs_in
from mmsampriors.masks import MaskCache, build_store
from mmsampriors.models import SPDModel
from mmsampriors.models.networks import unwrapped
from mmsampriors.registry import HOOKS, MODELS, build_part

from ..distributed import wait_for_all_ranks
from ..pretrained import restorer_of
from .resume import ExactResumeHook


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
        end_workers_with_parent(runner.train_loop.dataloader)  # masks fill the pipe in which a worker would be stuck
        _fill(runner, dataset, source, 'stored masks', self.batch_size, looked_at_in_validation(runner, source))
        if not any(isinstance(hook, ExactResumeHook) for hook in runner.hooks):  # which makes a loader of its own
            restart_workers(runner.train_loop)


def _fill(runner, dataset, source, what, batch_size, validation=(None, 0)):
    """Computes the masks that are missing, all ranks together, and logs how many there were."""
    with wait_for_all_ranks(f'computing {what}'):
        filled = fill_masks(
            dataset,
            source,
            restorer_of(runner.cfg, source, dataset),
            validation=validation,
            by_manifest=True,
            worker=get_dist_info(),
            batch_size=batch_size,
            device=next(runner.model.parameters()).device,
        )
    print_log(f'{what}: {filled.ready} images had them, {filled.computed} got them now', 'current')


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


@HOOKS.register_module()
class UnlabeledHook(Hook):
    """Adds degraded photographs without ground truth to the batches, wherever something is distilled [ours].

    L_recon is that of the pairs; L_SPD and L_SGR are taken over the photographs too. The pairs of a batch stay what
    they are without this hook, so that plain training remains comparable. The photographs go through the train
    pipeline of the pairs, with its crops, flips and growing patches. Needs ExactResumeHook, which draws them.

    Args:
        folders (list[str]): Folders of photographs, searched recursively, such as ``['data/my_photographs']``.
        per_pair (float): Photographs for each pair: 0.5 adds two to a batch of four, one to every second batch of one.
        weight (float): How much a photograph counts in L_SPD and L_SGR; a pair counts 1.
        cascade (int): How often in a row the initial student restores a photograph before the refiner sees it. 2 is for
            degradations that are heavier than that of the pairs.
        masks (dict, optional): Config of a stored mask source, for a model whose masks are stored:
            ``CachedMasks`` with ``source='restored'`` and the fixed initial student for ``restorer``, or, where the
            network does not enlarge, with ``source='lq'``; or ``LabelMapMasks``. Defaults to None: no masks.
        degrades (list[str]): Names of transforms in the train pipeline, besides mmagic's random ones, that degrade the
            pairs: they are left out, for the photographs are degraded already.
        neutral (list[str]): As in MaskCacheHook.
        batch_size (int): Images handed to the segmenter at once.
    """

    # Before MaskCacheHook, which makes the pipeline of the pairs carry masks of their own.
    priority = 'HIGHEST'

    def __init__(
        self,
        folders: Sequence[str],
        per_pair: float = 0.5,
        weight: float = 1.0,
        cascade: int = 1,
        masks: Optional[dict] = None,
        degrades: Sequence[str] = (),
        neutral: Sequence[str] = (),
        batch_size: int = 1,
    ):
        if not (per_pair > 0 and weight > 0 and cascade >= 1):
            raise ValueError(
                f'UnlabeledHook needs per_pair and weight above 0 and cascade of at least 1, found '
                f'per_pair={per_pair}, weight={weight}, cascade={cascade}: for none of these photographs leave '
                'the hook out'
            )
        if isinstance(folders, str) or not folders:
            raise ValueError(f'UnlabeledHook needs a list of folders of photographs, found folders={folders!r}')
        self.folders, self.per_pair, self.weight, self.masks = list(folders), per_pair, weight, masks
        self.cascade = cascade
        self.degrades, self.neutral, self.batch_size = tuple(degrades), tuple(neutral), batch_size

    def before_train(self, runner) -> None:
        model, loop = unwrapped(runner.model), runner.train_loop
        exact = next((hook for hook in runner.hooks if isinstance(hook, ExactResumeHook)), None)
        _refuse_what_cannot_work(model, loop, exact)
        pairs = loop.dataloader.dataset
        photographs = UnlabeledPhotographs(photographs_in(self.folders), pairs, self.degrades, model.scale)
        self._give_masks(runner, model.mask_source, photographs)
        # ExactResumeHook makes the loader that is drawn from of this one.
        loop.dataloader = loader_like(loop.dataloader, WithUnlabeled(pairs, photographs), loop.dataloader.batch_sampler)
        window = accumulated_iterations(runner.optim_wrapper)
        exact.extra = dict(
            first=len(pairs),
            count=len(photographs),
            per_pair=self.per_pair,
            wanted=lambda iteration: model.schedule.phase(iteration - iteration % window, runner.max_iters).ramp > 0,
        )
        model.unlabeled_weight, model.unlabeled_cascade = self.weight, self.cascade
        print_log(
            f'{len(photographs)} photographs without ground truth from {", ".join(self.folders)}: '
            f'{self.per_pair:g} for each pair of a batch wherever something is distilled',
            'current',
        )

    def _give_masks(self, runner, pair_masks, photographs):
        """Those of ``masks``, or none, where the pairs bring theirs along; other sources segment as they always do."""
        if not pair_masks.stored:
            if self.masks:
                raise ValueError(
                    f'UnlabeledHook.masks are stored masks, and model.spd.masks ({type(pair_masks).__name__}) stores '
                    'none: leave UnlabeledHook.masks out, and that source serves the photographs too'
                )
            return
        source = build_part(MODELS, self.masks) if self.masks else None
        if source is not None and not source.stored:
            raise ValueError(
                f'UnlabeledHook.masks must be stored masks, found {type(source).__name__}: see CachedMasks'
            )
        store = source.store(None) if source else None
        photographs.carry_masks(store, self.neutral)
        if store is None or not isinstance(build_store(store), MaskCache):
            return
        if source.source == 'gt':
            raise ValueError(
                "UnlabeledHook.masks has source='gt', and these photographs have no ground truth: take "
                "source='restored' with restorer=CHECKPOINT, the student that the refiner is trained on, or source='lq'"
            )
        _fill(runner, photographs, source, 'masks of photographs without ground truth', self.batch_size)


def _refuse_what_cannot_work(model, loop, exact):
    if not isinstance(model, SPDModel):
        raise ValueError(
            f'UnlabeledHook is in custom_hooks, but the model is a {type(model).__name__}, which learns nothing from '
            "photographs without ground truth: write model = dict(type='mmsampriors.SPDModel', spd=_base_.spd)"
        )
    if exact is None:
        raise ValueError(
            'UnlabeledHook needs ExactResumeHook, which draws its photographs: add '
            "dict(type='mmsampriors.ExactResumeHook') to custom_hooks (it is in _base_.spd_hooks)"
        )
    if not hasattr(loop, 'dataloader_iterator'):
        raise ValueError(
            f'UnlabeledHook trains by iterations, and {type(loop).__name__} by epochs: set '
            "train_cfg=dict(type='IterBasedTrainLoop', max_iters=...)"
        )

"""Photographs without ground truth, with no change to the inherited config."""

from typing import Optional, Sequence

from mmengine.dist import barrier, get_dist_info
from mmengine.hooks import Hook
from mmengine.logging import print_log
from torch.utils.data import DataLoader

from mmsampriors.datasets.unlabeled import UnlabeledPhotographs, WithUnlabeled, photographs_in
from mmsampriors.engine.mask_restorer import restorer_of
from mmsampriors.masks import MaskCache, build_store, fill_cache
from mmsampriors.models import SPDModel
from mmsampriors.models.unwrapped import unwrapped
from mmsampriors.registry import HOOKS, MODELS, build_part
from mmsampriors.upstream_internals import accumulated_iterations

from .exact_resume_hook import ExactResumeHook


@HOOKS.register_module()
class UnlabeledHook(Hook):
    """Lets degraded photographs without ground truth ride in the batches, wherever something is distilled [ours].

    L_recon is that of the pairs; L_SPD and L_SGR are taken over the photographs too. The pairs of a batch stay what
    they are without this hook, so that plain training remains comparable. The photographs go through the train
    pipeline of the pairs, with its crops, flips and growing patches. Needs ExactResumeHook, which draws them.

    Args:
        folders (list[str]): Folders of photographs, searched recursively, such as ``['data/my_photographs']``.
        share (float): Photographs for each pair of a batch: 0.5 adds two to a batch of four.
        weight (float): How much a photograph counts in L_SPD and L_SGR; a pair counts 1.
        passes (int): How often in a row the first student restores a photograph before the refiner sees it. 2 is for
            degradations that are heavier than that of the pairs.
        masks (dict, optional): Config of a stored mask source, for a model whose masks are stored:
            ``CachedMasks`` with ``source='restored'`` and the fixed first student for ``restorer``, or with
            ``source='lq'``; or ``LabelMapMasks``. Defaults to None: the empty set of masks.
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
        share: float = 0.5,
        weight: float = 1.0,
        passes: int = 1,
        masks: Optional[dict] = None,
        degrades: Sequence[str] = (),
        neutral: Sequence[str] = (),
        batch_size: int = 1,
    ):
        if not (share > 0 and weight > 0 and passes >= 1):
            raise ValueError(
                f'UnlabeledHook needs share and weight above 0 and passes of at least 1, found share={share}, '
                f'weight={weight}, passes={passes}: for none of these photographs leave the hook out'
            )
        if isinstance(folders, str) or not folders:
            raise ValueError(f'UnlabeledHook needs a list of folders of photographs, found folders={folders!r}')
        self.folders, self.share, self.weight, self.masks = list(folders), share, weight, masks
        self.passes = passes
        self.degrades, self.neutral, self.batch_size = tuple(degrades), tuple(neutral), batch_size

    def before_train(self, runner) -> None:
        model, loop = unwrapped(runner.model), runner.train_loop
        exact = next((hook for hook in runner.hooks if isinstance(hook, ExactResumeHook)), None)
        _refuse_what_cannot_work(model, loop, exact, self.share)
        pairs = loop.dataloader.dataset
        photographs = UnlabeledPhotographs(photographs_in(self.folders), pairs, self.degrades)
        self._give_masks(runner, model.mask_source, photographs)
        loop.dataloader = _with_dataset(loop.dataloader, WithUnlabeled(pairs, photographs))
        window = accumulated_iterations(runner.optim_wrapper)
        exact.extra = dict(
            first=len(pairs),
            count=len(photographs),
            share=self.share,
            wanted=lambda iteration: model.schedule.phase(iteration - iteration % window, runner.max_iters).ramp > 0,
        )
        model.unlabeled_weight, model.unlabeled_passes = self.weight, self.passes
        print_log(
            f'{len(photographs)} photographs without ground truth from {", ".join(self.folders)}: '
            f'{self.share:g} for each pair of a batch wherever something is distilled',
            'current',
        )

    def _give_masks(self, runner, ours, photographs):
        """Those of ``masks``, or none, where the pairs bring theirs along; other sources segment as they always do."""
        if not ours.stored:
            if self.masks:
                raise ValueError(
                    f'UnlabeledHook.masks are stored masks, and model.spd.masks ({type(ours).__name__}) stores none: '
                    'leave UnlabeledHook.masks out, and that source serves the photographs too'
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
        restore = restorer_of(runner.cfg, source, photographs)
        filled = fill_cache(
            build_store(store),
            photographs.files,
            source.segmenter.segment,
            restore,
            shard=get_dist_info(),
            batch_size=self.batch_size,
            device=next(runner.model.parameters()).device,
        )
        barrier()
        print_log(f'masks of photographs without ground truth: {filled.ready} had them, {filled.computed} got them now')


def _refuse_what_cannot_work(model, loop, exact, share):
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
    batch = loop.dataloader.batch_sampler.batch_size
    if round(share * batch) < 1:
        raise ValueError(
            f'UnlabeledHook.share={share} of a batch of {batch} is less than half a photograph: set share to at least '
            f'{1 / batch:.2g}'
        )


def _with_dataset(loader, dataset):
    """A loader like another, of other samples; ExactResumeHook makes the one that is drawn from."""
    return DataLoader(
        dataset,
        batch_sampler=loader.batch_sampler,
        num_workers=loader.num_workers,
        collate_fn=loader.collate_fn,
        pin_memory=loader.pin_memory,
        timeout=loader.timeout,
        worker_init_fn=loader.worker_init_fn,
        multiprocessing_context=loader.multiprocessing_context,
        prefetch_factor=loader.prefetch_factor,
        persistent_workers=loader.persistent_workers,
    )

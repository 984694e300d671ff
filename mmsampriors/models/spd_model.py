"""SPDModel: a restoration network that learns from its own SAM-guided refinement."""

from copy import deepcopy
from typing import Dict, List, Optional

import torch
from mmagic.models import BaseEditModel
from mmagic.structures import DataSample
from torch import Tensor, nn

from mmsampriors.checkpoints import read_weights
from mmsampriors.checks.spd_config import check_spd
from mmsampriors.masks import ImageMasks
from mmsampriors.registry import MODELS, TASK_UTILS, build_part

from .device_transfer import send_without_waiting
from .feature_entry import FeatureEntry
from .frozen_copy import frozen_copy, same_architecture
from .generator_weights import load_generator
from .ground_truth import labelled_count
from .mask_sources.base import MaskSource
from .network_probe import probe_network
from .on_demand import OnDemand
from .regions import Regions
from .rgb import to_rgb
from .schedules import Phase


@MODELS.register_module()
class SPDModel(BaseEditModel):
    """Semantic priors distillation (arXiv 2403.16368) around any restoration network.

    ``generator`` is the student. In training it restores the image, SPF unit and refiner make a better one with the
    help of masks, and the student learns from that. Validation, test and inference run the student alone, exactly as
    :class:`mmagic.models.BaseEditModel` does.

    Args:
        generator (dict): Config of the student.
        pixel_loss (dict): Config of the loss against the ground truth, of student and refiner alike.
        spd (dict): The parts: ``masks``, ``spf``, ``refiner`` (None: the student's own config), ``analyzer``, ``sgr``
            (None: no relations), ``distill`` and ``schedule``, each a config; see ``configs/_base_/spd.py``. And
            ``refiner_from``, which may be left out: a checkpoint with the refiner's initial weights, as mmagic saves
            the same network (``generator.*``) [ours].
        train_cfg (dict, optional): As in BaseEditModel.
        test_cfg (dict, optional): As in BaseEditModel; ``refined=True`` predicts the refined image.
        init_cfg (dict, optional): As in BaseEditModel.
        data_preprocessor (dict, optional): As in BaseEditModel.

    Attributes:
        phase (Phase, optional): What the present iteration trains; set by ``SPDScheduleHook``.
        pulls (dict[str, Tensor]): How hard the student's own loss (``student``), L_SPD (``spd``) and L_SGR (``sgr``)
            pull in the latest step: (N,), the squared L2 norm of the loss's gradient at each restored image.
        coverage (Tensor, optional): Share of the pixels that masks cover, in the latest step that refined.
        first_student (Module, optional): The student that the refiner was trained on, where a stage freezes the
            refiner: weights are buffers, which neither optimizer nor DDP know.
        refiner_gain (Tensor, optional): By how many dB the refined images of that step beat the restored ones.
        unlabeled_weight (float): How much an image without ground truth counts in L_SPD and L_SGR; set by
            ``UnlabeledHook``.
        unlabeled_passes (int): How often in a row an image without ground truth is restored before it is refined; set
            by ``UnlabeledHook``.
    """

    def __init__(
        self,
        generator: dict,
        pixel_loss: dict,
        spd: dict,
        train_cfg: Optional[dict] = None,
        test_cfg: Optional[dict] = None,
        init_cfg: Optional[dict] = None,
        data_preprocessor: Optional[dict] = None,
    ):
        super().__init__(generator, pixel_loss, train_cfg, test_cfg, init_cfg, data_preprocessor)
        send_without_waiting(self.data_preprocessor)
        check_spd(spd)
        # What draws random numbers from here on leaves the student's initialization as it is without SPD.
        with torch.random.fork_rng(devices=[]):
            self._build_parts(spd, generator)
        self.phase: Optional[Phase] = None
        self.pulls: Dict[str, Tensor] = {}
        self.coverage: Optional[Tensor] = None
        self.refiner_gain: Optional[Tensor] = None
        self.unlabeled_weight, self.unlabeled_passes = 1.0, 1

    def _build_parts(self, spd, generator):
        self.refiner = build_part(MODELS, deepcopy(spd['refiner'] or generator))
        self.refiner_from = spd.get('refiner_from')
        probe = probe_network(self.refiner, spd['spf'].get('entry'))
        _check_student(self.generator, probe)
        self.spf = build_part(
            MODELS,
            {
                **spd['spf'],
                'entry': probe.entry,
                'image_channels': probe.image_channels,
                'entry_channels': probe.entry_channels,
            },
        )
        self.entry = FeatureEntry(self.refiner.get_submodule(probe.entry)) if self.spf.inject == 'feature' else None
        self.mask_source = build_part(MODELS, spd['masks'])
        if not isinstance(self.mask_source, MaskSource):
            raise TypeError(
                f'spd.masks must be a MaskSource, found {type(self.mask_source).__name__}: a network that segments '
                'is a tool of training, wrapped in a mask source, and no part of the model'
            )
        self.analyzer = OnDemand(spd['analyzer']) if spd['sgr'] else None
        self.sgr = build_part(MODELS, spd['sgr']) if spd['sgr'] else None
        self.distill = build_part(MODELS, spd['distill'])
        self.schedule = build_part(TASK_UTILS, spd['schedule'])
        self.first_student = frozen_copy(self.generator) if self.schedule.freezes_refiner else None

    # ------------------------------------------------------------------------------------------------ the method

    def forward_train(self, inputs: Tensor, data_samples: Optional[DataSample] = None, **kwargs) -> Dict[str, Tensor]:
        """The losses of one step; their sum is L + L_recon2 of docs/how_it_works.md.

        Args:
            inputs (Tensor): (N, C, H, W), degraded images, normalized by the data preprocessor.
            data_samples (DataSample): Stacked, with ``gt_img`` and, where masks are stored, ``masks``. Those that
                ``labelled`` in their metainfo says to have no ground truth come last.

        Returns:
            dict[str, Tensor]: Scalars under ``student.``, ``refiner.``, ``spd.`` and ``sgr.``.
        """
        if self.phase is None:
            raise RuntimeError(
                'SPDModel does not know what this iteration trains: SPDScheduleHook is missing. Add '
                "custom_hooks = _base_.get('custom_hooks', []) + _base_.spd_hooks to the config"
            )
        with_gt = slice(labelled_count(data_samples.metainfo, len(inputs)))
        gt, losses, self.pulls, regions = data_samples.gt_img[with_gt], {}, {}, None
        refines = self.phase.refiner or self.phase.ramp
        if refines and 'masks' in data_samples:
            regions = Regions(data_samples.masks, inputs)  # first, so that they travel while the student runs
        with torch.set_grad_enabled(self.phase.student):
            restored = self.generator(inputs, **kwargs).float()  # in mixed precision a network may end in half
        if self.phase.student:
            losses['student.loss_recon'] = self.pixel_loss(self._tap(restored, 'student')[with_gt], gt)
        if not refines:
            return losses

        seen = self.seen_by_refiner(inputs, restored.detach(), **kwargs)
        seen = self._restored_again(seen, with_gt.stop, **kwargs)
        if regions is None:
            regions = Regions(self.masks_of(seen, data_samples), seen)
        with torch.set_grad_enabled(self.phase.refiner):
            refined = self.refine(seen, regions).float()
        self.coverage = regions.coverage()
        self.refiner_gain = decibels_gained(restored[with_gt].detach(), refined[with_gt].detach(), gt)
        if self.phase.refiner:
            losses['refiner.loss_recon'] = self.pixel_loss(refined[with_gt], gt)
        if self.phase.student and self.phase.ramp:
            losses.update(self._distil(restored, refined.detach(), gt, regions, data_samples))
        return losses

    def seen_by_refiner(self, inputs: Tensor, restored: Tensor, **kwargs) -> Tensor:
        """y1 as the refiner takes it: where the refiner is frozen, of the student that it was trained on [ours].

        A student that moves on while the refiner stays leads it to images that it has never seen, and follows it there.

        Args:
            inputs (Tensor): (N, C, H, W).
            restored (Tensor): (N, C, H, W), what the student makes of them now.

        Returns:
            Tensor: (N, C, H, W).
        """
        frozen = self.phase is None or (self.phase.ramp and not self.phase.refiner)
        if self.first_student is None or not frozen:
            return restored
        with torch.no_grad():
            return self.first_student(inputs, **kwargs).float()

    def _restored_again(self, seen, labelled, **kwargs):
        """Those behind the first ``labelled`` images, restored as often as ``unlabeled_passes`` says [ours].

        A degradation that is heavier than that of the pairs is not gone after one time, and a refiner that was trained
        on the pairs takes no more of it away.
        """
        if labelled == len(seen) or self.unlabeled_passes == 1:
            return seen
        student, again = self.generator if self.first_student is None else self.first_student, seen[labelled:]
        with torch.no_grad():
            for _ in range(self.unlabeled_passes - 1):
                again = student(again, **kwargs).float()
        return torch.cat([seen[:labelled], again])

    def refine(self, restored: Tensor, regions: Regions) -> Tensor:
        """y2 = r(g(y1, M)), as often in a row as ``spd.spf.passes`` says.

        Args:
            restored (Tensor): (N, C, H, W).
            regions (Regions): The masks of the N images, on the same pixels.

        Returns:
            Tensor: (N, C, H, W), the refined images.
        """
        refined = restored
        for _ in range(self.spf.passes):
            refined = self._refine_once(refined, regions)
        return refined

    def _refine_once(self, restored, regions):
        fused = self.spf(restored, regions)
        if self.spf.inject == 'image':
            return self.refiner(restored + fused)
        with self.entry.adding(fused):
            return self.refiner(restored)

    def _distil(self, restored, refined, gt, regions, data_samples):
        """L_SPD and L_SGR over all images, whose gradient reaches the student only."""
        ramp, weight = self.phase.ramp, self.unlabeled_weight
        image = self.distill(self._tap(restored, 'spd'), refined, gt, self.pixel_loss, weight)
        losses = {'spd.loss_image': ramp * image}
        if self.sgr is not None:
            target, theirs_count = (refined, weight) if self.sgr.target == 'refined' else (data_samples.gt_img, 0.0)
            ours = self._analyze(self._tap(restored, 'sgr'), data_samples)
            with torch.no_grad():
                theirs = self._analyze(target, data_samples)
            shares = restored.new_full((len(restored),), theirs_count / len(gt))
            shares[: len(gt)] = 1 / len(gt)
            for name, loss in self.sgr(ours, theirs, regions, shares).items():
                losses[f'sgr.{name}'] = ramp * loss
        return losses

    def _analyze(self, images, data_samples):
        """Semantic features in single precision: the two images differ by less than bfloat16 resolves.

        TF32, which torch takes for a GPU's convolutions unless told not to, is fine enough: L_SGR moves by less than
        2 % where the images are 50 dB apart (``.dev_scripts/benchmarks/analyzer_precision.py``, rounding on the CPU).
        """
        with torch.autocast(images.device.type, enabled=False):
            return self.analyzer(self.to_rgb(images.float(), data_samples))

    def masks_of(self, restored: Tensor, data_samples: DataSample) -> List[ImageMasks]:
        """M: the masks that came with the samples, or else those of the restored images.

        Args:
            restored (Tensor): (N, C, H, W).
            data_samples (DataSample): Stacked.

        Raises:
            RuntimeError: In training, the source is stored and the samples carry no masks.
        """
        if 'masks' in data_samples:
            return data_samples.masks
        if self.mask_source.stored and self.training:
            raise RuntimeError(
                f'{type(self.mask_source).__name__} keeps masks on disk, but the samples carry none: '
                'MaskCacheHook is missing from custom_hooks (it is in _base_.spd_hooks)'
            )
        # The segmenter has a precision of its own.
        with torch.autocast(restored.device.type, enabled=False):
            images = self.to_rgb(restored.detach().float(), data_samples).clamp(0, 1)
            return self.mask_source.segment(images, data_samples.metainfo.get('img_path', ()))

    # ------------------------------------------------------------------------------------ what mmengine asks for

    def enter(self, phase: Phase):
        """Makes student, SPF unit and refiner trainable or frozen as the phase says."""
        self.phase = phase
        self.generator.requires_grad_(phase.student)
        self.refiner.requires_grad_(phase.refiner)
        self.spf.requires_grad_(phase.refiner)
        if self.first_student is not None and phase.refiner:
            self.first_student.load_state_dict(self.generator.state_dict())
        self.train(self.training)

    def init_weights(self):
        """As in BaseEditModel; then the refiner takes the weights of ``spd.refiner_from``."""
        super().init_weights()
        if self.refiner_from:
            weights = read_weights(self.refiner_from)
            load_generator(self.refiner, weights, f'model.spd.refiner_from, {self.refiner_from},', 'the refiner')

    def start_refiner(self):
        """Gives a refiner of the student's architecture the student's weights: a better start than random [ours].

        One that started from a checkpoint keeps its own.
        """
        if not self.refiner_from and same_architecture(self.refiner, self.generator):
            self.refiner.load_state_dict(self.generator.state_dict())

    def forget_scale(self):
        """Lets a run that starts from a checkpoint measure L_SGR anew: its losses and images may be others."""
        if getattr(self.sgr, 'scale', None) is not None:
            self.sgr.scale.reset()

    def scale_relations(self, part: float = 1.0):
        """Lets L_SGR pull λ2 times as hard as L_recon1 in the next step, by the gradients of the step that is done.

        Args:
            part (float): Of a step that is done, in (0, 1]: see :meth:`.PullScale.update`.
        """
        scale, ramp = getattr(self.sgr, 'scale', None), self.phase.ramp
        if scale is not None and self.phase.student and ramp and self.sgr.loss_weight:
            student = self.pulls['student']
            # L_recon1 does not pull at images without ground truth: those with one are compared.
            scale.update(self.pulls['sgr'] * (student > 0), student, ramp * self.sgr.loss_weight, part)

    def train(self, mode: bool = True) -> 'SPDModel':
        """As ``nn.Module.train``, but what is frozen stays in eval mode."""
        super().train(mode)
        if self.phase is not None:
            self.generator.train(mode and self.phase.student)
            self.refiner.train(mode and self.phase.refiner)
            self.spf.train(mode and self.phase.refiner)
        if self.first_student is not None:
            self.first_student.eval()
        return self

    def prepare(self, device: torch.device):
        """Builds the tools of training, so that a missing weight is an error before the first batch."""
        self.mask_source.prepare()
        if self.analyzer is not None:
            self.analyzer.build(device)

    def forward_tensor(self, inputs: Tensor, data_samples: Optional[DataSample] = None, **kwargs) -> Tensor:
        """The restored images, (N, C, H, W); the refined ones where ``test_cfg`` says ``refined=True``."""
        restored = super().forward_tensor(inputs, data_samples, **kwargs)
        if self.test_cfg and self.test_cfg.get('refined'):
            if data_samples is None:
                raise ValueError('refined images need the data samples, which say the order of the channels')
            seen = self.seen_by_refiner(inputs, restored, **kwargs)
            return self.refine(seen, Regions(self.masks_of(seen, data_samples), seen))
        return restored

    def to_rgb(self, images: Tensor, data_samples: DataSample) -> Tensor:
        """What SAM and the analyzers expect of the images that the networks see; see :func:`.rgb.to_rgb`.

        Args:
            images (Tensor): (N, C, H, W), C of 3 or 1, as the data preprocessor normalizes them.
            data_samples (DataSample): Stacked; their metainfo holds the order of the channels.

        Returns:
            Tensor: (N, 3, H, W), RGB in [0, 1] where the networks keep to the range of images.
        """
        orders = data_samples.metainfo.get('img_output_channel_order') or data_samples.metainfo.get('img_channel_order')
        if orders is None and images.shape[1] == 3:
            raise KeyError(
                'the samples do not say the order of their channels (img_channel_order): load images with '
                'LoadImageFromFile, or set it in the pipeline'
            )
        return to_rgb(images, self.data_preprocessor, orders[0] if orders else '')

    def _tap(self, restored, name):
        """The same images, whose gradients are noted in ``pulls`` under ``name``."""

        def note(gradient):
            self.pulls[name] = gradient.detach().float().flatten(1).square().sum(1)

        tapped = restored.view_as(restored)
        if tapped.requires_grad:
            tapped.register_hook(note)
        return tapped


def decibels_gained(restored: Tensor, refined: Tensor, gt: Tensor) -> Tensor:
    """How much higher the PSNR of the refined images is, a scalar: the mean over the images.

    Args:
        restored (Tensor): (N, C, H, W).
        refined (Tensor): (N, C, H, W).
        gt (Tensor): (N, C, H, W).
    """
    errors = [(image - gt).square().mean((1, 2, 3)).clamp(min=1e-12) for image in (restored, refined)]
    return 10 * (errors[0] / errors[1]).log10().mean()


def _check_student(student: nn.Module, probe):
    """A refiner of another architecture must take what the student makes."""
    ours = probe_network(student)
    if ours.image_channels != probe.image_channels:
        raise ValueError(
            f'the student makes images of {ours.image_channels} channels and spd.refiner takes {probe.image_channels}'
        )

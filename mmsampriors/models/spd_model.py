"""SPDModel: a restoration network that learns from its own SAM-guided refinement."""

from dataclasses import replace
from typing import Dict, List, Optional

import torch
from mmagic.models import BaseEditModel
from mmagic.structures import DataSample
from mmengine.logging import print_log
from torch import Tensor, nn

from mmsampriors.checkpoints import read_generator
from mmsampriors.masks import ImageMasks
from mmsampriors.registry import MODELS, TASK_UTILS, build_part

from .batch import channel_order, labelled_count, psnr_gain, send_without_waiting, to_rgb
from .feature_extractors import OnDemand
from .losses import DistillationBatch
from .mask_sources import MaskSource
from .networks import build_refiner, frozen_copy, load_generator, network_of, probe_pair, same_architecture
from .regions import Regions
from .schedules import Phase
from .spd_config import check_spd
from .spf import FeatureEntry


@MODELS.register_module()
class SPDModel(BaseEditModel):
    """Semantic priors distillation (arXiv 2403.16368) around any restoration or super-resolution network.

    ``generator`` is the student. In training it restores the image, SPF unit and refiner make a better one with the
    help of masks, and the student learns from that. Validation, test and inference run the student alone, exactly as
    :class:`mmagic.models.BaseEditModel` does.

    Args:
        generator (dict): Config of the student.
        pixel_loss (dict): Config of the loss against the ground truth, of student and refiner alike.
        spd (dict): The parts: ``masks``, ``spf``, ``refiner`` (None: the student's own config, or where the student
            enlarges a small network at full size), ``feature_extractor``, ``losses`` (configs by name; None switches
            one off) and ``schedule``; see ``configs/_base_/spd.py``. And ``refiner_from``, which may be left out: a
            checkpoint with the refiner's initial weights, as mmagic saves the same network (``generator.*``) [ours].
        test_cfg (dict, optional): As in BaseEditModel; ``refined=True`` predicts the refined image.
        others: ``train_cfg``, ``init_cfg`` and ``data_preprocessor``, as in BaseEditModel.

    Attributes:
        scale (int): How many times larger than its input the student's image is: 1 but for super-resolution.
        phase (Phase, optional): What the present iteration trains; set by ``SPDScheduleHook``.
        gradient_norms (dict[str, Tensor]): Of the student's own loss (``student``) and of each of ``losses``, in the
            latest step: (N,), the squared L2 norm of the gradient at each restored image.
        mask_coverage (Tensor, optional): Share of the pixels that masks cover, in the latest step that refined.
        initial_student (Module, optional): The frozen student that the refiner was trained on, where a stage freezes
            the refiner: weights are buffers, which neither optimizer nor DDP know.
        psnr_gain (Tensor, optional): By how many dB the refined images of that step beat the restored ones.
        unlabeled_weight (float): How many times an image without ground truth counts in ``losses``; set by
            ``UnlabeledHook``.
        unlabeled_cascade (int): How often in a row an image without ground truth is restored before it is refined; set
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
        self.gradient_norms: Dict[str, Tensor] = {}
        self.mask_coverage: Optional[Tensor] = None
        self.psnr_gain: Optional[Tensor] = None
        self.unlabeled_weight, self.unlabeled_cascade = 1.0, 1

    def _build_parts(self, spd, generator):
        self.refiner = build_refiner(spd['refiner'], generator)
        self.refiner_from = spd.get('refiner_from')
        self.scale, entry = probe_pair(self.generator, self.refiner, spd['spf'].get('entry'))
        self.spf = build_part(MODELS, {**spd['spf'], **entry})
        self.entry = FeatureEntry(self.refiner.get_submodule(self.spf.entry)) if self.spf.inject == 'feature' else None
        self.mask_source = build_part(MODELS, spd['masks'])
        if not isinstance(self.mask_source, MaskSource):
            raise TypeError(
                f'spd.masks must be a MaskSource, found {type(self.mask_source).__name__}: a network that segments '
                'is a tool of training, wrapped in a mask source, and no part of the model'
            )
        self.losses = nn.ModuleDict(
            {name: build_part(MODELS, loss) for name, loss in spd['losses'].items() if loss is not None}
        )
        needs_features = any(loss.needs_features for loss in self.losses.values())
        self.feature_extractor = OnDemand(spd['feature_extractor']) if needs_features else None
        self.schedule = build_part(TASK_UTILS, spd['schedule'])
        self.initial_student = frozen_copy(self.generator) if self.schedule.freezes_refiner else None

    # ------------------------------------------------------------------------------------------------ the method

    def forward_train(self, inputs: Tensor, data_samples: Optional[DataSample] = None, **kwargs) -> Dict[str, Tensor]:
        """The losses of one step; their sum is L + L_recon2 of docs/how_it_works.md.

        Args:
            inputs (Tensor): (N, C, h, w), degraded images, normalized by the data preprocessor.
            data_samples (DataSample): Stacked, with ``gt_img`` and, where masks are stored, ``masks``. Those that
                ``labelled`` in their metainfo says to have no ground truth come last.

        Returns:
            dict[str, Tensor]: Scalars under ``student.``, ``refiner.`` and the names of the losses that distil.
        """
        if self.phase is None:
            raise RuntimeError(
                'SPDModel does not know what this iteration trains: SPDScheduleHook is missing. Add '
                "custom_hooks = _base_.get('custom_hooks', []) + _base_.spd_hooks to the config"
            )
        labelled = slice(labelled_count(data_samples.metainfo, len(inputs)))
        gt, losses, self.gradient_norms, regions = data_samples.gt_img[labelled], {}, {}, None
        refines = self.phase.refiner or self.phase.ramp
        if refines and 'masks' in data_samples:
            regions = Regions(data_samples.masks, data_samples.gt_img)  # first: they travel while the student runs
        with torch.set_grad_enabled(self.phase.student):
            restored = self.generator(inputs, **kwargs).float()  # in mixed precision a network may end in half
        if self.phase.student:
            losses['student.loss_recon'] = self.pixel_loss(self._watched(restored, 'student')[labelled], gt)
        if not refines:
            return losses

        refiner_input = self.refiner_input(inputs, restored.detach(), labelled.stop, **kwargs)
        if regions is None:
            regions = Regions(self.masks_of(refiner_input, data_samples), refiner_input)
        with torch.set_grad_enabled(self.phase.refiner):
            refined = self.refine(refiner_input, regions).float()
        self.mask_coverage = regions.coverage()
        self.psnr_gain = psnr_gain(restored[labelled].detach(), refined[labelled].detach(), gt)
        if self.phase.refiner:
            losses['refiner.loss_recon'] = self.pixel_loss(refined[labelled], gt)
        if self.phase.student and self.phase.ramp:
            losses.update(self._distil(restored, refined.detach(), gt, regions, data_samples))
        return losses

    def refiner_input(self, inputs: Tensor, restored: Tensor, labelled: Optional[int] = None, **kwargs) -> Tensor:
        """y1 as the refiner takes it: where the refiner is frozen, of the student that it was trained on [ours].

        A student that moves on while the refiner stays leads it to images that it has never seen, and follows it there.
        Images without ground truth are restored ``unlabeled_cascade`` times: a degradation that is heavier than that of
        the pairs is not gone after one time, and a refiner that was trained on the pairs takes no more of it away.

        Args:
            inputs (Tensor): (N, C, h, w).
            restored (Tensor): (N, C, H, W), what the student makes of them now.
            labelled (int, optional): How many of the first images have a ground truth. Defaults to None: all.

        Returns:
            Tensor: (N, C, H, W).
        """
        frozen = self.initial_student is not None and (self.phase is None or self.phase.distils_from_frozen)
        student = self.initial_student if frozen else self.generator
        with torch.no_grad():
            if frozen:
                restored = student(inputs, **kwargs).float()
            if labelled is None or labelled == len(restored) or self.unlabeled_cascade == 1:
                return restored
            if self.scale > 1:
                raise ValueError('UnlabeledHook.cascade must be 1: an enlarged image is no input of the student')
            unlabeled, modes = restored[labelled:], {module: module.training for module in student.modules()}
            student.eval()  # what is restored already must not enter its statistics
            for _ in range(self.unlabeled_cascade - 1):
                unlabeled = student(unlabeled, **kwargs).float()
            for module, training in modes.items():
                module.training = training
        return torch.cat([restored[:labelled], unlabeled])

    def refine(self, restored: Tensor, regions: Regions) -> Tensor:
        """y2 = r(g(y1, M)): the refined images, (N, C, H, W), of restored ones and their masks on the same pixels."""
        fused = self.spf(restored, regions)
        if self.spf.inject == 'image':
            return self.refiner(restored + fused)
        with self.entry.adding(fused):
            return self.refiner(restored)

    def _distil(self, restored, refined, gt, regions, data_samples):
        """The losses over all images, whose gradient reaches the student only."""
        image_weights = restored.new_full((len(restored),), self.unlabeled_weight / len(gt))
        image_weights[: len(gt)] = 1 / len(gt)
        batch = DistillationBatch(
            restored=restored,
            refined=refined,
            gt=gt,
            regions=regions,
            image_weights=image_weights,
            unlabeled_weight=self.unlabeled_weight,
            student_loss=self.pixel_loss,
            extract=lambda images: self._extract(images, data_samples),
        )
        losses = {}
        for name, loss in self.losses.items():
            for key, value in loss(replace(batch, restored=self._watched(restored, name))).items():
                losses[f'{name}.{key}'] = self.phase.ramp * value
        return losses

    def _extract(self, images, data_samples):
        """Semantic features in single precision: the two images differ by less than bfloat16 resolves.

        TF32, torch's default for a GPU's convolutions, is fine enough: L_SGR moves by less than
        2 % where the images are 50 dB apart.
        """
        with torch.autocast(images.device.type, enabled=False):
            return self.feature_extractor(self.to_rgb(images.float(), data_samples))

    def masks_of(self, restored: Tensor, data_samples: DataSample) -> List[ImageMasks]:
        """M: the masks that came with the samples, or else those of the restored images, (N, C, H, W).

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
        if self.initial_student is not None and phase.refiner:
            self.initial_student.load_state_dict(self.generator.state_dict())
        self.train(self.training)

    def init_weights(self):
        """As in BaseEditModel; then the refiner takes the weights of ``spd.refiner_from``."""
        super().init_weights()
        if self.refiner_from:
            source, (weights, form) = f'model.spd.refiner_from, {self.refiner_from}', read_generator(self.refiner_from)
            if form:
                print_log(f'{source}: {form}', 'current')
            load_generator(network_of(self.refiner), weights, f'{source},', 'the refiner')

    def start_refiner(self):
        """Gives a refiner of the student's architecture the student's weights: a better start than random [ours].

        One that started from a checkpoint keeps its own.
        """
        network = network_of(self.refiner)
        if not self.refiner_from and same_architecture(network, self.generator):
            network.load_state_dict(self.generator.state_dict())

    def train(self, mode: bool = True) -> 'SPDModel':
        """As ``nn.Module.train``, but what is frozen stays in eval mode."""
        super().train(mode)
        if self.phase is not None:
            self.generator.train(mode and self.phase.student)
            self.refiner.train(mode and self.phase.refiner)
            self.spf.train(mode and self.phase.refiner)
        if self.initial_student is not None:
            self.initial_student.eval()
        return self

    def prepare(self, device: torch.device):
        """Builds the tools of training, so that a missing weight is an error before the first batch."""
        self.mask_source.prepare()
        if self.feature_extractor is not None:
            self.feature_extractor.build(device)

    def forward_tensor(self, inputs: Tensor, data_samples: Optional[DataSample] = None, **kwargs) -> Tensor:
        """The restored images, (N, C, H, W); the refined ones where ``test_cfg`` says ``refined=True``."""
        restored = super().forward_tensor(inputs, data_samples, **kwargs)
        if self.test_cfg and self.test_cfg.get('refined'):
            if data_samples is None:
                raise ValueError('refined images need the data samples, which say the order of the channels')
            refiner_input = self.refiner_input(inputs, restored, **kwargs)
            return self.refine(refiner_input, Regions(self.masks_of(refiner_input, data_samples), refiner_input))
        return restored

    def to_rgb(self, images: Tensor, data_samples: DataSample) -> Tensor:
        """What SAM and feature extractors expect of images (N, C, H, W) of the networks: RGB in [0, 1]."""
        return to_rgb(images, self.data_preprocessor, channel_order(data_samples.metainfo, images.shape[1]))

    def _watched(self, restored, name):
        """The same images; the norms of their gradients are kept in ``gradient_norms`` under ``name``."""

        def keep_norms(gradient):
            self.gradient_norms[name] = gradient.detach().float().flatten(1).square().sum(1)

        watched = restored.view_as(restored)
        if watched.requires_grad:
            watched.register_hook(keep_norms)
        return watched

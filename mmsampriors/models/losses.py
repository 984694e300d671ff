"""The losses that distil: SPD on the image, SGR on the relations of regions [paper, "SPD", "SGR"].

Their forms, and the adaptive weight of SGR, are [ours] (docs/how_it_works.md). A loss of your own is a registered
subclass of :class:`DistillationLoss` and an entry in ``model.spd.losses``.
"""

import math
from dataclasses import dataclass
from typing import Callable, Dict, Optional, Tuple

import torch
from mmengine.dist import all_reduce
from torch import Tensor, nn

from mmsampriors.registry import MODELS, build_part

from .regions import Regions


@dataclass
class DistillationBatch:
    """What a loss may compare. Only ``restored`` carries a gradient.

    Args:
        restored (Tensor): (N, C, H, W), the student's images.
        refined (Tensor): (N, C, H, W), the refiner's images, the target.
        gt (Tensor): (n, C, H, W), the ground truth of the first n of the N images.
        regions (Regions): The masks of the N images.
        image_weights (Tensor): (N,), what the loss of each image is multiplied by before all are added up: 1 / n, times
            ``unlabeled_weight`` for those without ground truth.
        unlabeled_weight (float): How many times an image without ground truth counts.
        student_loss (callable): The pixel loss that the student trains with: maps two images to a scalar.
        extract (callable, optional): Maps images (N, C, H, W) to semantic features (N, C', h, w), in single precision.
    """

    restored: Tensor
    refined: Tensor
    gt: Tensor
    regions: Regions
    image_weights: Tensor
    unlabeled_weight: float
    student_loss: Callable
    extract: Optional[Callable] = None

    def features(self) -> Tuple[Tensor, Tensor]:
        """Semantic features of the restored and of the refined images, each (N, C', h, w)."""
        restored = self.extract(self.restored)
        with torch.no_grad():
            return restored, self.extract(self.refined)


class DistillationLoss(nn.Module):
    """A loss between the restored and the refined image.

    Args:
        loss_weight (float): What the loss is multiplied by, at least 0.
        relative (bool): Whether ``loss_weight`` is relative to the student's own loss: the norm of this loss's gradient
            at the restored image, as a share of the norm of the student's [ours].

    Attributes:
        adaptive_weight (AdaptiveLossWeight, optional): What makes ``loss_weight`` relative.
    """

    #: Whether it calls ``batch.features()``, which needs ``model.spd.feature_extractor``.
    needs_features = False

    def __init__(self, loss_weight: float = 1.0, relative: bool = False):
        super().__init__()
        number = isinstance(loss_weight, (int, float)) and not isinstance(loss_weight, bool)
        if not number or not math.isfinite(loss_weight) or loss_weight < 0:
            raise ValueError(
                f'{type(self).__name__}.loss_weight must be a number of at least 0 (below 0 the student would be '
                f'driven away from the refined image), found {loss_weight!r}'
            )
        self.loss_weight = loss_weight
        self.adaptive_weight = AdaptiveLossWeight() if relative else None

    def forward(self, batch: DistillationBatch) -> Dict[str, Tensor]:
        """The weighted losses, scalars under ``loss_*``; only these names are added to the training loss."""
        factor = self.loss_weight * (self.adaptive_weight() if self.adaptive_weight else 1)
        return {f'loss_{name}': factor * value for name, value in self.compute(batch).items()}

    def compute(self, batch: DistillationBatch) -> Dict[str, Tensor]:
        """The losses without their weight: scalars by name. Subclasses say what they are."""
        raise NotImplementedError

    def adapt_weight(self, gradient_norms: Dict[str, Tensor], name: str, ramp: float, step_fraction: float):
        """Brings a relative loss to ``loss_weight`` times the student's gradient norm in the next step.

        Args:
            gradient_norms (dict[str, Tensor]): Of the step that is done, as ``SPDModel`` keeps them.
            name (str): Of this loss in them.
            ramp (float): What the loss was multiplied by besides, above 0.
            step_fraction (float): As for :meth:`AdaptiveLossWeight.update`.
        """
        if self.adaptive_weight is not None and self.loss_weight:
            student = gradient_norms['student']
            # The student's own loss has no gradient at images without ground truth: those with one are compared.
            # A loss that was constant in this step has no gradient.
            norms = gradient_norms.get(name, torch.zeros_like(student)) * (student > 0)
            self.adaptive_weight.update(norms, student, ramp * self.loss_weight, step_fraction)

    def reset_measured(self):
        """Lets a run that starts from a checkpoint measure anew: its losses and images may be others."""
        if self.adaptive_weight is not None:
            self.adaptive_weight.reset()


@MODELS.register_module()
class SPDLoss(DistillationLoss):
    """A distance of the restored from the refined image [paper]; its form is [ours].

    The default distance is the squared one, in the unit of the student's own pixel loss: a difference from the refined
    image has ``loss_weight`` times the gradient that the same difference from the ground truth would have. Both
    together then lead to ``(gt + loss_weight * refined) / (1 + loss_weight)``, whatever the student trains with. The
    gradients of L1 and PSNR losses would grow as the restored image comes closer to the refined one.

    Args:
        loss_weight (float): λ1 of docs/how_it_works.md.
        pixel_loss (dict, optional): Config of a pixel loss to use instead. Defaults to None: the squared distance.
    """

    #: Share of the latest step in the unit of images without ground truth: a mean over some 50 steps.
    MOMENTUM = 0.02

    def __init__(self, loss_weight: float = 1.0, pixel_loss: Optional[dict] = None):
        super().__init__(loss_weight)
        self.pixel_loss = build_part(MODELS, pixel_loss) if pixel_loss else None
        if self.pixel_loss is None:
            # Over the steps: how many units were measured, and the sum of their inverses. Saved with the model.
            self.register_buffer('measured', torch.zeros(2))

    def reset_measured(self):
        """As in the base class; the units are forgotten."""
        super().reset_measured()
        if self.pixel_loss is None:
            self.measured.zero_()

    def compute(self, batch: DistillationBatch) -> Dict[str, Tensor]:
        """``image``, a scalar.

        Images without ground truth have no unit of their own: it is the harmonic mean of those that have one, in
        this step and the steps before [ours]. A pair that is all but restored has a unit without bound, and adds at
        most its share to that mean, in a batch of one pair too.
        """
        restored, refined = batch.restored, batch.refined.detach()
        n, unlabeled = len(batch.gt), len(restored) - len(batch.gt)
        if self.pixel_loss is not None:
            loss = self.pixel_loss(restored[:n], refined[:n])
            if unlabeled:
                share = batch.unlabeled_weight * unlabeled / n
                loss = loss + share * self.pixel_loss(restored[n:], refined[n:])
            return {'image': loss}
        weights = gradient_per_difference(restored[:n], batch.gt, batch.student_loss)
        if unlabeled:
            as_pairs = gradient_per_difference(restored[n:], refined[n:], batch.student_loss)
            # A pixel loss is a mean over a rank's pixels, of which batches and stages have more or fewer.
            unit = self._unit_of_unlabeled(weights * batch.gt.numel(), as_pairs * restored[n:].numel())
            unit = batch.unlabeled_weight / batch.gt.numel() * unit
            weights = torch.cat([weights, unit.expand(unlabeled, 1, 1, 1)])
        return {'image': (weights * (restored - refined).square()).sum() / 2}

    @torch.no_grad()
    def _unit_of_unlabeled(self, weights, as_pairs):
        """Scalar, the same on all ranks: the running harmonic mean of the pairs' units, times a batch's pixels.

        The first step has no past. Instead of it counts what the photographs would have for units if the refined
        images were their ground truth (``as_pairs``), so that not even there one pair decides alone.
        """
        sums = torch.stack([inverse_sums(weights), inverse_sums(as_pairs)])
        all_reduce(sums)
        past = torch.where(self.measured.any(), (1 - self.MOMENTUM) * self.measured, sums[1])
        self.measured.copy_(past + sums[0])
        return (self.measured[0] / self.measured[1]).nan_to_num(0.0).to(weights)


def gradient_per_difference(restored: Tensor, gt: Tensor, loss: Callable) -> Tensor:
    """The gradient norm of a pixel loss at an image, relative to the image's difference from the ground truth.

    Args:
        restored (Tensor): (N, C, H, W).
        gt (Tensor): (N, C, H, W).
        loss (callable): Maps two images to a scalar.

    Returns:
        Tensor: (N, 1, 1, 1), the L2 norm of the loss's gradient over that of the difference; 0 where the images are
        equal.
    """
    with torch.enable_grad():
        restored = restored.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(loss(restored, gt), restored)
    gradient, difference = (one.flatten(1).norm(dim=1) for one in (gradient, (restored - gt).detach()))
    return (gradient / difference).nan_to_num(0.0, posinf=0.0)[:, None, None, None]


def inverse_sums(weights: Tensor) -> Tensor:
    """How many weights are above 0, and the sum of their inverses: (2,)."""
    inverse = weights.reciprocal()
    counted = inverse.isfinite()
    return torch.stack([counted.sum().to(inverse), inverse.where(counted, 0.0).sum()])


@MODELS.register_module()
class SGRLoss(DistillationLoss):
    """Keeps the relations of regions in the semantic feature space of the restored image those of the refined one.

    The relations [ours] are cosine similarities. Each loss is averaged within an image first and over the images then;
    an image without regions counts as zero.

    Args:
        loss_weight (float): λ2. Relations are a weak teacher, so the default is a tenth.
        region (bool): Whether to compare the cosine similarities of pairs of regions.
        pixel (bool): Whether to compare the cosine similarities of each position with each region.
        min_area (float): Regions that cover less than this many cells of the feature grid count for nothing.
        relative (bool): As in :class:`DistillationLoss`.
    """

    needs_features = True

    def __init__(
        self,
        loss_weight: float = 0.1,
        region: bool = True,
        pixel: bool = True,
        min_area: float = 1.0,
        relative: bool = True,
    ):
        super().__init__(loss_weight, relative)
        if not (region or pixel):
            raise ValueError(
                'spd.losses.sgr has region=False and pixel=False, so it would do nothing: set one of them, or '
                'spd.losses.sgr=None'
            )
        if not min_area >= 0:
            raise ValueError(f'spd.losses.sgr.min_area must be at least 0, found {min_area}')
        self.region, self.pixel, self.min_area = region, pixel, min_area

    def compute(self, batch: DistillationBatch) -> Dict[str, Tensor]:
        """``region`` and ``pixel``, scalars, those that are switched on."""
        restored, refined = batch.features()
        with torch.autocast(restored.device.type, enabled=False):
            weights = batch.regions.on_grid(restored.shape[-2:]).flatten(2)
            restored, refined = restored.float().flatten(2), refined.detach().float().flatten(2)
            valid = weights.sum(2, keepdim=True) >= self.min_area
            # A region that does not count has a vector of zeros: its cosines are 0 in both images.
            weights, count = weights * valid, valid.sum((1, 2), dtype=weights.dtype)
            # A sum has the direction of the mean.
            prediction, target = unit(weights @ restored.mT, 2), unit(weights @ refined.mT, 2)
            losses = {}
            if self.region:
                losses['region'] = (batch.image_weights * region_relations(prediction, target, count)).sum()
            if self.pixel:
                losses['pixel'] = (batch.image_weights * pixel_relations(restored, refined, target, count)).sum()
        return losses


def unit(vectors: Tensor, dim: int) -> Tensor:
    """Vectors along ``dim`` at a length of 1; a zero vector stays one.

    As ``torch.nn.functional.normalize``, whose norm is slow where vectors are not contiguous.
    """
    return vectors * vectors.square().sum(dim, keepdim=True).clamp(min=1e-24).rsqrt()


def region_relations(prediction: Tensor, target: Tensor, count: Tensor) -> Tensor:
    """Mean difference of the cosine similarities of pairs of regions.

    Args:
        prediction (Tensor): (N, K, C), unit vectors; zero for regions that do not count.
        target (Tensor): (N, K, C), likewise.
        count (Tensor): (N,), float, how many regions count.

    Returns:
        Tensor: (N,), in [0, 2].
    """
    difference = (prediction @ prediction.mT - target @ target.mT).triu(1)
    return _mean(difference, count * (count - 1) / 2)


def pixel_relations(restored: Tensor, refined: Tensor, vectors: Tensor, count: Tensor) -> Tensor:
    """Mean difference of the cosine similarities of each position with each region of the refined image.

    Args:
        restored (Tensor): (N, C, L), features of L positions.
        refined (Tensor): (N, C, L).
        vectors (Tensor): (N, K, C), unit vectors of the regions in the refined image; zero for regions that do not
            count.
        count (Tensor): (N,), float, how many regions count.

    Returns:
        Tensor: (N,), in [0, 2].
    """
    # The difference of two products with the same matrix is one product.
    difference = vectors @ (unit(restored, 1) - unit(refined, 1))
    return _mean(difference, count * difference.shape[2])


def _mean(difference: Tensor, count: Tensor) -> Tensor:
    """(N,), the mean absolute value of ``count`` of each image's numbers, the others being 0."""
    return difference.abs().sum((1, 2)) / count.clamp(min=1)


class AdaptiveLossWeight(nn.Module):
    """The factor that gives a loss the gradient norm of the student's own loss, as GradNorm and VQGAN weight losses.

    Both norms are L2 norms of the gradients at the restored image. They are measured in the backward pass that a step
    needs anyway, so the factor of a step comes from the steps before it: it is one over the root mean square of the
    ratio of both norms, over about ``1 / momentum`` steps. The first step has no past. It takes a factor next to
    nothing, and only measures.

    An image at which the loss has no gradient, such as one without masks, counts for nothing. A step without any other
    image, or with a gradient that is not finite, leaves the factor as it is. What multiplies both losses (a
    GradScaler, gradient accumulation) cancels. N ranks with batches of b measure what one rank with a batch of N·b
    does, and all have the same factor. It is a buffer, and saved with the model.

    Args:
        momentum (float): Share of the latest step in the mean, in (0, 1].
    """

    UNMEASURED = 1e-4

    def __init__(self, momentum: float = 0.02):
        super().__init__()
        self.momentum = momentum
        # Weighted sums over the steps: of the squared ratio at a factor of 1, and of the weights.
        self.register_buffer('sums', torch.zeros(2))

    def forward(self) -> Tensor:
        """The factor, a scalar without gradient."""
        squares, weights = self.sums
        return torch.where(squares > 0, (weights / squares).sqrt(), self.UNMEASURED)

    def reset(self):
        """Forgets what was measured, as it was with another loss or other data."""
        self.sums.zero_()

    @torch.no_grad()
    def update(self, squared_norms: Tensor, student_norms: Tensor, weight: float, step_fraction: float = 1.0):
        """Notes what a step has measured. In a distributed run all ranks call it.

        Args:
            squared_norms (Tensor): (N,), squared gradient norm at each image of the loss, which was multiplied by
                ``weight`` and the factor of now.
            student_norms (Tensor): (N,), likewise of the student's own loss.
            weight (float): Above 0.
            step_fraction (float): Of an optimizer step that was measured, in (0, 1]: gradient accumulation makes a
                step of several iterations.
        """
        momentum = self.momentum * step_fraction
        totals = torch.stack([squared_norms.sum(), (student_norms * (squared_norms > 0)).sum()]).to(self.sums)
        all_reduce(totals)
        ratio = totals[0] / totals[1] / (weight * self()).square()
        added = momentum * torch.stack([ratio, torch.ones_like(ratio)])
        self.sums.copy_(torch.where(ratio.isfinite() & (ratio > 0), (1 - momentum) * self.sums + added, self.sums))

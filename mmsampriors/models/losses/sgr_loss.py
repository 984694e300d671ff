"""SGR: semantic-guided relation [paper, "SGR"]; the relations are [ours] (docs/how_it_works.md)."""

from typing import Dict, Optional

import torch
from torch import Tensor, nn

from mmsampriors.registry import MODELS

from ..regions import Regions
from .pull_scale import PullScale


@MODELS.register_module()
class SGRLoss(nn.Module):
    """Keeps the relations of regions in the semantic feature space of the restored image those of the refined one.

    Each loss is averaged within an image first and over the images then; an image without regions counts as zero.
    With ``target='gt'`` the ground truth takes the refined image's place: then it is a perceptual loss, and images
    without ground truth count for nothing [ours].

    Args:
        loss_weight (float): λ2, at least 0: the norm of the gradient at the restored image, as a share of that of the
            student's own loss, whatever that loss is [ours]. Relations are a weak teacher, so the default is a tenth.
        region (bool): Whether to compare the cosine similarities of pairs of regions.
        pixel (bool): Whether to compare the cosine similarities of each position with each region.
        min_area (float): Regions that cover less than this many cells of the feature grid count for nothing.
        feature (bool): Whether to compare the features themselves: their mean absolute difference, as a share of the
            mean size of the target's, masks or none [ours].
        target (str): What the restored image is compared with, ``'refined'`` or ``'gt'``.
        mask_dropout (float): Probability in [0, 1) with which each region counts for nothing in a training step.
        relative (bool): Whether λ2 is such a share. False makes it a plain factor of the differences.

    Attributes:
        scale (PullScale, optional): What makes λ2 a share; ``SPDModel`` tells it the gradients of each step.
    """

    TARGETS = ('refined', 'gt')

    def __init__(
        self,
        loss_weight: float = 0.1,
        region: bool = True,
        pixel: bool = True,
        min_area: float = 1.0,
        feature: bool = False,
        target: str = 'refined',
        mask_dropout: float = 0.0,
        relative: bool = True,
    ):
        super().__init__()
        if not (region or pixel or feature):
            raise ValueError(
                'spd.sgr has region=False, pixel=False and feature=False, so it would do nothing: set one of them, or '
                'spd.sgr=None'
            )
        if target not in self.TARGETS:
            raise ValueError(f'spd.sgr.target must be one of {self.TARGETS}, found {target!r}')
        if not min_area >= 0:
            raise ValueError(f'spd.sgr.min_area must be at least 0, found {min_area}')
        if not 0 <= mask_dropout < 1:
            raise ValueError(f'spd.sgr.mask_dropout must be in [0, 1), found {mask_dropout}')
        self.loss_weight, self.region, self.pixel, self.min_area = loss_weight, region, pixel, min_area
        self.feature, self.target, self.mask_dropout = feature, target, mask_dropout
        self.scale = PullScale() if relative else None

    def forward(
        self, restored: Tensor, refined: Tensor, regions: Regions, shares: Optional[Tensor] = None
    ) -> Dict[str, Tensor]:
        """Compares relations.

        Args:
            restored (Tensor): (N, C, h, w), semantic features of the restored image.
            refined (Tensor): (N, C, h, w), those of the target: they get no gradient.
            regions (Regions): The masks of the N images.
            shares (Tensor, optional): (N,), what each image's loss is multiplied by before all are added up. Defaults
                to None: 1 / N, the mean.

        Returns:
            dict[str, Tensor]: ``loss_region``, ``loss_pixel`` and ``loss_feature``, scalars, those that are switched
            on.
        """
        shares = restored.new_full((len(restored),), 1 / len(restored)) if shares is None else shares
        with torch.autocast(restored.device.type, enabled=False):
            weights = regions.on_grid(restored.shape[-2:]).flatten(2)
            restored, refined = restored.float().flatten(2), refined.detach().float().flatten(2)
            valid = weights.sum(2, keepdim=True) >= self.min_area
            if self.training and self.mask_dropout:
                valid = valid & (torch.rand(valid.shape) >= self.mask_dropout).to(valid.device)
            # A region that does not count has a vector of zeros: its cosines are 0 in both images.
            weights, count = weights * valid, valid.sum((1, 2), dtype=weights.dtype)
            # A sum has the direction of the mean.
            ours, theirs = unit(weights @ restored.mT, 2), unit(weights @ refined.mT, 2)
            factor = self.loss_weight * (self.scale() if self.scale else 1)
            losses = {}
            if self.region:
                losses['loss_region'] = factor * (shares * region_relations(ours, theirs, count)).sum()
            if self.pixel:
                losses['loss_pixel'] = factor * (shares * pixel_relations(restored, refined, theirs, count)).sum()
            if self.feature:
                losses['loss_feature'] = factor * (shares * feature_difference(restored, refined)).sum()
        return losses


def unit(vectors: Tensor, dim: int) -> Tensor:
    """Vectors along ``dim`` at a length of 1; a zero vector stays one.

    As ``torch.nn.functional.normalize``, whose norm is slow where vectors are not contiguous.
    """
    return vectors * vectors.square().sum(dim, keepdim=True).clamp(min=1e-24).rsqrt()


def region_relations(ours: Tensor, theirs: Tensor, count: Tensor) -> Tensor:
    """Mean difference of the cosine similarities of pairs of regions.

    Args:
        ours (Tensor): (N, K, C), unit vectors; zero for regions that do not count.
        theirs (Tensor): (N, K, C), likewise.
        count (Tensor): (N,), float, how many regions count.

    Returns:
        Tensor: (N,), in [0, 2].
    """
    difference = (ours @ ours.mT - theirs @ theirs.mT).triu(1)
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


def feature_difference(restored: Tensor, target: Tensor) -> Tensor:
    """Mean absolute difference of features, as a share of the mean size of the target's.

    Args:
        restored (Tensor): (N, C, L), features of L positions.
        target (Tensor): (N, C, L).

    Returns:
        Tensor: (N,).
    """
    return (restored - target).abs().mean((1, 2)) / target.abs().mean((1, 2)).clamp(min=1e-12)


def _mean(difference: Tensor, count: Tensor) -> Tensor:
    """(N,), the mean absolute value of ``count`` of each image's numbers, the others being 0."""
    return difference.abs().sum((1, 2)) / count.clamp(min=1)

"""SGR: semantic-guided relation [paper, "SGR"]; the relations are [ours] (METHOD.md)."""
from typing import Dict, List

import torch
import torch.nn.functional as F
from mmagic.registry import MODELS
from torch import Tensor, nn

from mmsampriors.masks import ImageMasks

from ..regions import region_means, stack_masks


@MODELS.register_module()
class SGRLoss(nn.Module):
    """Keeps the relations of regions in the semantic feature space of the restored image those of the refined one.

    Each loss is averaged within an image first and over the images then; an image without regions counts as zero.

    Args:
        loss_weight (float): λ2 of METHOD.md.
        region (bool): Whether to compare the cosine similarities of pairs of regions.
        pixel (bool): Whether to compare the cosine similarities of each position with each region.
        min_area (float): Regions that cover less than this many cells of the feature grid count for nothing.
    """

    def __init__(self, loss_weight: float = 0.1, region: bool = True, pixel: bool = True, min_area: float = 1.):
        super().__init__()
        if not (region or pixel):
            raise ValueError('spd.sgr has region=False and pixel=False, so it would do nothing: set one of them, or '
                             'spd.sgr=None')
        self.loss_weight, self.region, self.pixel, self.min_area = loss_weight, region, pixel, min_area

    def forward(self, restored: Tensor, refined: Tensor, masks: List[ImageMasks], size) -> Dict[str, Tensor]:
        """Compares relations.

        Args:
            restored (Tensor): (N, C, h, w), semantic features of the restored image.
            refined (Tensor): (N, C, h, w), those of the refined image: they get no gradient.
            masks (list[ImageMasks]): The masks of the N images.
            size (tuple[int, int]): H and W of the images in pixels.

        Returns:
            dict[str, Tensor]: ``loss_region`` and ``loss_pixel``, scalars, those that are switched on.
        """
        with torch.autocast(restored.device.type, enabled=False):
            restored, refined = restored.float(), refined.detach().float()
            regions = F.adaptive_avg_pool2d(stack_masks(masks, size, restored.device), restored.shape[-2:])
            valid = regions.sum((2, 3)) >= self.min_area
            ours = F.normalize(region_means(restored, regions), dim=2)
            theirs = F.normalize(region_means(refined, regions), dim=2)
            losses = {}
            if self.region:
                losses['loss_region'] = self.loss_weight * region_relations(ours, theirs, valid)
            if self.pixel:
                losses['loss_pixel'] = self.loss_weight * pixel_relations(restored, refined, theirs, valid)
        return losses


def region_relations(ours: Tensor, theirs: Tensor, valid: Tensor) -> Tensor:
    """Mean difference of the cosine similarities of pairs of regions.

    Args:
        ours (Tensor): (N, K, C), unit vectors.
        theirs (Tensor): (N, K, C), unit vectors.
        valid (Tensor): (N, K), bool, regions that count.

    Returns:
        Tensor: Scalar in [0, 2].
    """
    pairs = (valid[:, :, None] & valid[:, None, :]).triu(1)
    difference = (ours @ ours.transpose(1, 2) - theirs @ theirs.transpose(1, 2)).abs()
    return (_mean_where(difference, pairs)).mean()


def pixel_relations(restored: Tensor, refined: Tensor, vectors: Tensor, valid: Tensor) -> Tensor:
    """Mean difference of the cosine similarities of each position with each region of the refined image.

    Args:
        restored (Tensor): (N, C, h, w).
        refined (Tensor): (N, C, h, w).
        vectors (Tensor): (N, K, C), unit vectors of the regions in the refined image.
        valid (Tensor): (N, K), bool, regions that count.

    Returns:
        Tensor: Scalar in [0, 2].
    """
    # The difference of two products with the same matrix is one product.
    difference = F.normalize(restored.flatten(2), dim=1) - F.normalize(refined.flatten(2), dim=1)
    difference = (vectors @ difference).abs()
    return _mean_where(difference, valid[:, :, None].expand_as(difference)).mean()


def _mean_where(values: Tensor, where: Tensor) -> Tensor:
    """Mean over the marked values of each image, (N,); zero where none is marked."""
    sums = values.masked_fill(~where, 0).flatten(1).sum(1)
    return sums / where.flatten(1).sum(1).clamp(min=1)

"""PSNR where regions meet."""

from typing import List, Optional

import numpy as np
import torch.nn.functional as F
from mmagic.evaluation.metrics.metrics_utils import img_transform
from torch import Tensor

from mmsampriors.registry import METRICS

from .mask_metric import MaskMetric


@METRICS.register_module()
class BorderPSNR(MaskMetric):
    """PSNR in dB on the pixels near the borders of the ground truth's regions. [ours]

    An image whose masks have no border is left out of the mean.

    Args:
        masks (dict): Config of a mask source: ``LabelMapMasks`` (label maps by the ground truth's file name), or one
            that segments the ground truth, such as ``SAMMasks``.
        distance (int): How far a pixel may be from a border, in pixels of chessboard distance; 1: it touches it.
        crop_border (int): Pixels left out on each edge of the image, as in mmagic's PSNR.
        convert_to (str, optional): 'Y' for the luma channel, as in mmagic's PSNR.
        **kwargs: Those of :class:`MaskMetric`.

    Metrics:
        - BorderPSNR: mean over the images that have borders

    Raises:
        ValueError: ``distance`` is below 1; or, in the end, no image had a border.
    """

    metric = 'BorderPSNR'

    def __init__(
        self, masks: dict, distance: int = 3, crop_border: int = 0, convert_to: Optional[str] = None, **kwargs
    ):
        super().__init__(masks, **kwargs)
        if distance < 1:
            raise ValueError(f'distance must be at least 1 pixel, found {distance}')
        self.distance = distance
        self.transform = dict(crop_border=crop_border, input_order='CHW', convert_to=convert_to)

    def process(self, data_batch, data_samples: List[dict]):
        """Measures the images of a batch; ``results`` gets one dict for each, with None where there is no border."""
        for sample in data_samples:
            pred, gt = self.images(sample)
            near = near_borders(self.masks_of_gt(gt, sample).bitmaps, self.distance)
            if near.shape != gt.shape[1:]:
                raise ValueError(
                    f'the masks of {sample.get("gt_path")} have {tuple(near.shape)} pixels (H, W), the '
                    f'image {tuple(gt.shape[1:])}'
                )
            near = img_transform(near[None].float().cpu(), crop_border=self.transform['crop_border'], input_order='CHW')
            ours, theirs = (
                img_transform(image.cpu(), channel_order=self.channel_order, **self.transform) for image in (pred, gt)
            )
            self.results.append({self.metric: _psnr(ours, theirs, near[..., 0] > 0)})

    def compute_metrics(self, results: List[dict]) -> dict:
        """The mean over the images that have borders."""
        values = [result[self.metric] for result in results if result[self.metric] is not None]
        if not values:
            raise ValueError(
                f'BorderPSNR: none of the {len(results)} images has a border between regions; are the '
                f'masks ({type(self.mask_source).__name__}) those of these images?'
            )
        return {self.metric: float(np.mean(values))}


def near_borders(masks: Tensor, distance: int) -> Tensor:
    """Pixels near a border, where neighbours lie in different sets of masks.

    Args:
        masks (Tensor): (K, H, W), bool.
        distance (int): Chessboard distance in pixels; 1: the two pixels on both sides of a border.

    Returns:
        Tensor: (H, W), bool.
    """
    right = (masks[..., 1:] != masks[..., :-1]).any(0)
    down = (masks[:, 1:] != masks[:, :-1]).any(0)
    touching = F.pad(right, (0, 1)) | F.pad(right, (1, 0)) | F.pad(down, (0, 0, 0, 1)) | F.pad(down, (0, 0, 1, 0))
    if distance == 1:
        return touching
    reach = distance - 1
    return F.max_pool2d(touching[None, None].float(), 2 * reach + 1, stride=1, padding=reach)[0, 0] > 0


def _psnr(ours: np.ndarray, theirs: np.ndarray, where: np.ndarray):
    if not where.any():
        return None
    error = np.mean((ours[where] - theirs[where]) ** 2, dtype=np.float64)
    return float('inf') if error == 0 else float(10 * np.log10(255**2 / error))

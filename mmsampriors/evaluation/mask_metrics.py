"""Metrics with masks: agreement of segments, and PSNR near their borders."""

import hashlib
from typing import List, NamedTuple, Optional, Tuple

import numpy as np
import torch
import torch.nn.functional as F
from mmagic.evaluation.metrics.base_sample_wise_metric import BaseSampleWiseMetric
from mmagic.evaluation.metrics.metrics_utils import img_transform, obtain_data
from torch import Tensor

from mmsampriors.images import psnr
from mmsampriors.masks import ImageMasks, LabelMaps, RunMasks, build_store, pairwise_iou
from mmsampriors.models.batch import metric_image_to_rgb
from mmsampriors.models.mask_sources import FolderMasks, MaskSource, StoredMaskSource
from mmsampriors.models.networks import unwrapped
from mmsampriors.registry import METRICS, MODELS, build_part


class MaskMetric(BaseSampleWiseMetric):
    """A metric of mmagic that builds a mask source and segments on the device of the model.

    Images arrive as all metrics of mmagic get them from the data preprocessor: BGR (or grey), float, in [0, 255].

    Masks of the ground truth that are stored are read instead: where ``masks`` is the ``CachedMasks`` that the model
    trains with, ``MaskCacheHook`` stores those of all validation images before training.

    Args:
        masks (dict): Config of a mask source, as in ``model.spd.masks``. It is made ready at once, so that a missing
            checkpoint is an error before training starts.
        gt_key (str): Key of the ground truth.
        pred_key (str): Key of the prediction.
        collect_device (str): 'cpu' or 'gpu': where distributed runs collect.
        prefix (str, optional): Comes before the names of the metrics, as ``prefix/name``.
    """

    def __init__(
        self,
        masks: dict,
        gt_key: str = 'gt_img',
        pred_key: str = 'pred_img',
        collect_device: str = 'cpu',
        prefix: Optional[str] = None,
    ):
        super().__init__(gt_key=gt_key, pred_key=pred_key, collect_device=collect_device, prefix=prefix)
        self.mask_source = build_part(MODELS, masks)
        if not isinstance(self.mask_source, MaskSource):
            raise TypeError(
                f'masks of {type(self).__name__} must be a mask source, such as SAMMasks, found {masks["type"]}'
            )
        self.mask_source.prepare()
        self._files = build_store(self.mask_source.store('')) if isinstance(self.mask_source, FolderMasks) else None
        self._stored = {}

    def prepare(self, module, dataloader):
        """Notes the size of the data set, the device of the model, and which masks are stored."""
        super().prepare(module, dataloader)
        module = unwrapped(module)
        self.device = next(module.parameters()).device
        source = getattr(module, 'mask_source', None)
        self._stored = source.kept_for_validation if self.takes_masks_of(source) else {}

    def takes_masks_of(self, source: Optional[MaskSource]) -> bool:
        """Whether the masks of the ground truth are those that a mask source stores."""
        return (
            isinstance(source, type(self.mask_source))
            and isinstance(source, StoredMaskSource)
            and source.source == 'gt'
            and source.provenance() == self.mask_source.provenance()
        )

    def evaluate(self):
        """As every metric, and leaves the device to training."""
        self.mask_source.release()
        return super().evaluate()

    def images(self, sample: dict) -> Tuple[Tensor, Tensor]:
        """Prediction and ground truth of a sample, (C, H, W) each, on the device of the model.

        Raises:
            ValueError: They have different sizes.
        """
        pred = obtain_data(sample['output'], self.pred_key, self.device)
        gt = obtain_data(sample, self.gt_key, self.device)
        if pred.shape != gt.shape:
            raise ValueError(
                f'{type(self).__name__} compares images of one size; found {tuple(pred.shape)} for '
                f'{self.pred_key} and {tuple(gt.shape)} for {self.gt_key} of {sample.get("gt_path")}'
            )
        return pred, gt

    def masks_of_gt(self, gt: Tensor, sample: dict) -> ImageMasks:
        """The masks of a ground truth, (C, H, W) as it arrives: those that are stored, or what the segmenter finds.

        Raises:
            MaskStoreError: Two images would share a file of masks.
        """
        path = sample.get('gt_path')
        if self._files and path:
            self._files.path_of(path)
        if path in self._stored:
            masks = self._stored[path].load(path)
            if masks.size == tuple(gt.shape[1:]):
                return masks.to(gt.device)
        return self.segment(gt, sample)

    @torch.no_grad()
    def segment(self, image: Tensor, sample: dict):
        """The masks of one image, (C, H, W) as it arrives."""
        return self.mask_source.segment(metric_image_to_rgb(image)[None], [sample.get('gt_path', '')])[0]


class Agreement(NamedTuple):
    """Mean best IoU of two sets of masks, each in [0, 1].

    Attributes:
        forth (float): Mean over the masks of the first set of the best IoU with one of the second.
        back (float): Mean over the masks of the second set of the best IoU with one of the first.
        mean (float): Mean of the two.
    """

    forth: float
    back: float
    mean: float


def agreement(prediction: ImageMasks, target: ImageMasks) -> Agreement:
    """Mean best IoU in both directions.

    Two empty sets agree: 1. Where one of them is empty and the other is not, nothing is found: 0 in both directions.

    Args:
        prediction (ImageMasks): K masks.
        target (ImageMasks): L masks of an image of the same size.

    Raises:
        ValueError: The images have different sizes.
    """
    if prediction.size != target.size:
        raise ValueError(f'masks of images of different sizes cannot agree: {prediction.size} and {target.size} (H, W)')
    if len(prediction) == 0 or len(target) == 0:
        same = float(len(prediction) == len(target))
        return Agreement(same, same, same)
    iou = pairwise_iou(prediction.bitmaps, target.bitmaps)
    forth, back = iou.amax(1).mean().item(), iou.amax(0).mean().item()
    return Agreement(forth, back, (forth + back) / 2)


@METRICS.register_module()
class SegmentationConsistency(MaskMetric):
    """Mean best IoU of a segmenter's masks on the restored image with its masks on the ground truth. [ours]

    Each image counts alike. Where both images have no masks they agree (1), where only one has none they do not (0).
    With ``human_segments`` the masks of the restored image are compared with label maps too, and those of the ground
    truth, which is what the same segmenter reaches on a perfect restoration.

    Args:
        masks (dict): Config of a source that segments, such as ``SAMMasks`` or ``FelzenszwalbMasks``; or the
            ``CachedMasks`` that the model trains with, whose segmenter then sees the restored images alone.
        human_segments (str, optional): Folder with ``NAME.png``, a label map of 8 or 16 bits, for each ground truth
            ``NAME.*``.
        **kwargs: Those of :class:`MaskMetric`.

    Metrics:
        - SegIoU: mean of the two directions
        - SegIoU_gt2restored: the best IoU of each mask of the ground truth, mean
        - SegIoU_restored2gt: the best IoU of each mask of the restored image, mean
        - Masks_gt, Masks_restored: masks an image, mean
        - HumanIoU, HumanIoU_human2restored, HumanIoU_restored2human: likewise against the label maps
        - HumanIoU_of_gt: HumanIoU of the ground truth's masks
        - Segments_human: segments an image, mean

    Raises:
        ValueError: ``masks`` come from a folder, or are ``NoMasks``.
    """

    metric = 'SegIoU'

    def __init__(self, masks: dict, human_segments: Optional[str] = None, **kwargs):
        super().__init__(masks, **kwargs)
        if isinstance(self.mask_source, FolderMasks) or masks['type'] == 'NoMasks':
            raise ValueError(
                f'SegmentationConsistency segments restored images, and {masks["type"]} cannot: name a '
                "segmenter, such as masks=dict(type='SAMMasks', model_type='vit_h')"
            )
        self.human = LabelMaps(human_segments) if human_segments else None
        self._seen = {}

    def process(self, data_batch, data_samples: List[dict]):
        """Segments and compares the images of a batch; ``results`` gets one dict of numbers for each."""
        for sample in data_samples:
            pred, gt = self.images(sample)
            restored, truth = self.segment(pred, sample), self._masks_once(gt, sample)
            agreed = agreement(truth, restored)
            result = dict(
                SegIoU=agreed.mean,
                SegIoU_gt2restored=agreed.forth,
                SegIoU_restored2gt=agreed.back,
                Masks_gt=len(truth),
                Masks_restored=len(restored),
            )
            if self.human is not None:
                result.update(self._against_human(restored, truth, sample))
            self.results.append(result)

    def _against_human(self, restored, truth, sample):
        path = sample.get('gt_path')
        if path is None:
            raise KeyError(
                'human segments are found by the name of the ground truth, and the samples have no gt_path: '
                'load it with LoadImageFromFile'
            )
        human = self.human.load(path).to(restored.bitmaps.device)
        if human.size != restored.size:
            raise ValueError(
                f'the label map of {path} in {self.human.folder} has {human.size} pixels (H, W), the '
                f'restored image {restored.size}'
            )
        agreed = agreement(human, restored)
        return dict(
            HumanIoU=agreed.mean,
            HumanIoU_human2restored=agreed.forth,
            HumanIoU_restored2human=agreed.back,
            HumanIoU_of_gt=agreement(human, truth).mean,
            Segments_human=len(human),
        )

    def _masks_once(self, gt: Tensor, sample: dict) -> ImageMasks:
        """Segmented once: each validation meets the same images again. Kept as runs, some KB an image."""
        key = hashlib.sha256(gt.cpu().numpy().tobytes()).digest()
        if key not in self._seen:
            self._seen[key] = RunMasks.pack(self.masks_of_gt(gt, sample)).stored
        return RunMasks(self._seen[key], device=gt.device)

    def compute_metrics(self, results: List[dict]) -> dict:
        """The mean over the images of each number."""
        return {name: float(np.mean([result[name] for result in results])) for name in results[0]}


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
            prediction, target = (
                img_transform(image.cpu(), channel_order=self.channel_order, **self.transform) for image in (pred, gt)
            )
            near = near[..., 0] > 0
            self.results.append({self.metric: psnr(prediction[near], target[near]) if near.any() else None})

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

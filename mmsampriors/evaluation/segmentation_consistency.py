"""Does a segmenter see in the restored image what it sees in the ground truth?"""

import hashlib
from typing import List, Optional

import numpy as np
from torch import Tensor

from mmsampriors.masks import ImageMasks, LabelMaps, RunMasks
from mmsampriors.models.mask_sources.stored import FolderMasks
from mmsampriors.registry import METRICS

from .mask_metric import MaskMetric
from .overlap import agreement


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

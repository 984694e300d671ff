"""What the metrics that need masks have in common."""

from typing import Optional, Tuple

import torch
from mmagic.evaluation.metrics.base_sample_wise_metric import BaseSampleWiseMetric
from mmagic.evaluation.metrics.metrics_utils import obtain_data
from torch import Tensor

from mmsampriors.masks import ImageMasks
from mmsampriors.models.mask_sources.base import MaskSource
from mmsampriors.models.rgb import metric_image_to_rgb
from mmsampriors.models.unwrapped import unwrapped
from mmsampriors.registry import MODELS, build_part


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
            and hasattr(source, 'kept_for_validation')
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
        """The masks of a ground truth, (C, H, W) as it arrives: those that are stored, or what the segmenter finds."""
        path = sample.get('gt_path')
        if path in self._stored:
            masks = self._stored[path].load(path)
            if masks.size == tuple(gt.shape[1:]):
                return masks.to(gt.device)
        return self.segment(gt, sample)

    @torch.no_grad()
    def segment(self, image: Tensor, sample: dict):
        """The masks of one image, (C, H, W) as it arrives."""
        return self.mask_source.segment(metric_image_to_rgb(image)[None], [sample.get('gt_path', '')])[0]

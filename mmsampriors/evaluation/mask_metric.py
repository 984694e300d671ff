"""What the metrics that need masks have in common."""

from typing import Optional, Tuple

import torch
from mmagic.evaluation.metrics.base_sample_wise_metric import BaseSampleWiseMetric
from mmagic.evaluation.metrics.metrics_utils import obtain_data
from torch import Tensor

from mmsampriors.models.mask_sources.base import MaskSource
from mmsampriors.models.rgb import metric_image_to_rgb
from mmsampriors.models.unwrapped import unwrapped
from mmsampriors.registry import MODELS, build_part


class MaskMetric(BaseSampleWiseMetric):
    """A metric of mmagic that builds a mask source and segments on the device of the model.

    Images arrive as all metrics of mmagic get them from the data preprocessor: BGR (or grey), float, in [0, 255].

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

    def prepare(self, module, dataloader):
        """Notes the size of the data set, and the device of the model."""
        super().prepare(module, dataloader)
        module = unwrapped(module)
        self.device = next(module.parameters()).device

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

    @torch.no_grad()
    def segment(self, image: Tensor, sample: dict):
        """The masks of one image, (C, H, W) as it arrives."""
        return self.mask_source.segment(metric_image_to_rgb(image)[None], [sample.get('gt_path', '')])[0]

"""Measuring restored images."""
import mmsampriors.compat  # noqa: F401, I001  (mends mmagic before it is imported)

from .border_psnr import BorderPSNR
from .comparison import Comparison, compare_on_pairs, mean_metrics, measure
from .overlap import Agreement, agreement, pairwise_iou
from .psnr_by_image import PSNRByImage
from .segmentation_consistency import SegmentationConsistency

__all__ = [
    'Agreement', 'BorderPSNR', 'Comparison', 'PSNRByImage', 'SegmentationConsistency', 'agreement', 'compare_on_pairs',
    'mean_metrics', 'measure', 'pairwise_iou'
]

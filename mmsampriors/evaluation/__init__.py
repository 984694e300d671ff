"""Measuring restored images."""

from .border_psnr import BorderPSNR
from .overlap import Agreement, agreement
from .psnr_by_image import PSNRByImage
from .segmentation_consistency import SegmentationConsistency

__all__ = [
    'Agreement',
    'BorderPSNR',
    'PSNRByImage',
    'SegmentationConsistency',
    'agreement',
]

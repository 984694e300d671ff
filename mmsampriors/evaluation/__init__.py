"""Measuring restored images."""

from .border_psnr import BorderPSNR
from .overlap import Agreement, agreement
from .perceptual import DISTS, LPIPS
from .psnr_by_image import PSNRByImage
from .segmentation_consistency import SegmentationConsistency

__all__ = [
    'DISTS',
    'LPIPS',
    'Agreement',
    'BorderPSNR',
    'PSNRByImage',
    'SegmentationConsistency',
    'agreement',
]

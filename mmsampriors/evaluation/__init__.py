"""Measuring restored images."""

from .image_metrics import DISTS, LPIPS, CollapseRate, PSNRByImage
from .mask_metrics import Agreement, BorderPSNR, SegmentationConsistency, agreement

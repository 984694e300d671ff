"""Names of the metrics of images: which compare with ground truth, and which do not."""

from typing import Iterable, List, Tuple

FULL_REFERENCE = ('PSNR', 'SSIM', 'PSNR-Y', 'SSIM-Y', 'LPIPS', 'DISTS')
NO_REFERENCE = ('NIQE',)


def kept_apart(names: Iterable[str]) -> Tuple[List[str], List[str]]:
    """Splits names of metrics into those that are measured against something, and those without reference.

    One is how near an image is to the truth, the other how natural it looks: they do not belong into one table.

    Args:
        names (Iterable[str]): With or without a prefix, such as ``NIQE`` or ``Rain100L/NIQE``.
    """
    split = [], []
    for name in names:
        split[name.rpartition('/')[2] in NO_REFERENCE].append(name)
    return split

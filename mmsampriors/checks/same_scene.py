"""Whether two images of a pair show the same scene, the same way up [ours].

Both are brought to 32 by 32 gray values, which takes noise and rain out and leaves the light and dark of the scene, and
are correlated. PSNR does not show it: noise of sigma 200 leaves 7 dB, and a photograph that is turned over is at 10.
"""

from typing import Optional

import cv2
import numpy as np

from mmsampriors.images import psnr

SIDE = 32
#: Correlation below which two images have nothing in common.
UNRELATED = 0.1
#: By how much the correlation must be better after a rotation or flip.
TURNED = 0.2
#: Correlation after it, from which it is the same scene: 0.64 and more under strong degradations; the best turn of
#: different photographs is below in 995 of 1,000 pairs that look turned (BSDS500).
SAME = 0.6
#: Standard deviation of the gray values, of 0 to 255, below which an image is too flat to compare.
FLAT = 10.0

#: Difference of the means, of 0 to 255, from which an image is not that of a ground truth of one colour.
OTHER_LIGHT = 64.0

#: Name of each rotation and flip to what it does to an array (H, W, ...).
TURNS = {
    'rotated by 180 degrees': lambda image: image[::-1, ::-1],
    'mirrored left to right': lambda image: image[:, ::-1],
    'mirrored top to bottom': lambda image: image[::-1],
    'rotated by 90 degrees to the left': lambda image: np.rot90(image),
    'rotated by 90 degrees to the right': lambda image: np.rot90(image, -1),
    'transposed': lambda image: image.swapaxes(0, 1),
    'transposed and rotated by 180 degrees': lambda image: image.swapaxes(0, 1)[::-1, ::-1],
}


def mismatch(image: np.ndarray, target: np.ndarray) -> Optional[str]:
    """Says how a degraded image and its ground truth fail to be a pair.

    Args:
        image (np.ndarray): (H, W, C), uint8, C of 1 or 3.
        target (np.ndarray): (H, W, C'), uint8.

    Returns:
        str, optional: What is wrong, with the PSNR as it is and, where a rotation or flip helps, after it; None where
        nothing is, or where the target is too flat to compare.
    """
    shrunk, wanted = small(image), small(target)
    if wanted.std() < FLAT:
        if not np.ptp(target) and abs(float(shrunk.mean() - wanted.mean())) > OTHER_LIGHT:
            return 'do not show the same scene: the ground truth is of one colour, and the image far from it'
        return None
    found = correlation(shrunk, wanted)
    square = image.shape[0] == image.shape[1]
    turns = list(TURNS)[: None if square else 3]
    turned = {name: correlation(TURNS[name](shrunk), wanted) for name in turns}
    best = max(turned, key=turned.get)
    as_it_is = psnr(gray_of(image), gray_of(target))
    is_turned = turned[best] > found + TURNED
    if is_turned and turned[best] >= SAME:
        return (
            f'show the same scene only when one is {best}: PSNR is {as_it_is:.1f} dB as they are and '
            f'{psnr(gray_of(TURNS[best](image)), gray_of(target)):.1f} dB then'
        )
    if is_turned or found < UNRELATED:
        return (
            f'do not show the same scene: PSNR is {as_it_is:.1f} dB, and light and dark of the two correlate by '
            f'{found:.2f} (heavy rain, noise and blur leave 0.3 and more)'
        )
    return None


def gray_of(image: np.ndarray) -> np.ndarray:
    """(H, W), float32: the mean of the channels of an image (H, W, C)."""
    image = np.ascontiguousarray(image, np.float32)
    return image.mean(2) if image.ndim == 3 else image


def small(image: np.ndarray) -> np.ndarray:
    """(SIDE, SIDE) gray values of an image (H, W, C), in 0 to 255."""
    return cv2.resize(gray_of(image), (SIDE, SIDE), interpolation=cv2.INTER_AREA)


def correlation(one: np.ndarray, other: np.ndarray) -> float:
    """Of two arrays of one shape, in [-1, 1]; 0 where one is flat."""
    one, other = one - one.mean(), other - other.mean()
    return float((one * other).sum() / max(1e-6, np.sqrt((one**2).sum() * (other**2).sum())))

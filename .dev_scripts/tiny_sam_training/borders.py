"""Where masks have their borders: how near to people's, and whether on the grid of the encoder's cells."""

import cv2
import numpy as np


def border_map(masks: np.ndarray) -> np.ndarray:
    """(K, H, W) bool masks to the (H, W) bool pixels that differ from their right or lower neighbour in any of them."""
    found = np.zeros(masks.shape[1:], bool)
    found[:, :-1] |= (masks[:, :, 1:] != masks[:, :, :-1]).any(0)
    found[:-1] |= (masks[:, 1:] != masks[:, :-1]).any(0)
    return found


def boundary_f(found: np.ndarray, truth: np.ndarray, reach: float) -> float:
    """F-measure of border pixels.

    Args:
        found (ndarray): (H, W) bool, from :func:`border_map`.
        truth (ndarray): (H, W) bool, likewise.
        reach (float): A pixel is right where the other map has one at this distance in pixels, or nearer.

    Returns:
        float: Harmonic mean of the share of ``found`` that is near ``truth`` and of ``truth`` that is near ``found``; 0
        where one of the two is empty.
    """
    if not found.any() or not truth.any():
        return 0.0
    precision, recall = (_near(a, b, reach) for a, b in ((found, truth), (truth, found)))
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def _near(pixels, others, reach):
    distance = cv2.distanceTransform((~others).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return float((distance[pixels] <= reach).mean())


def borders_on_grid(masks: np.ndarray, side: int, cell: int = 16) -> tuple:
    """How many steps of mask borders lie on multiples of ``cell``, in pixels of a SAM's input.

    A step is a pair of neighbouring pixels of which one is in the mask. It lies at the line between the two; on a
    multiple where that line is half an input pixel from one, or nearer.

    Args:
        masks (ndarray): (K, H, W), bool.
        side (int): Long side in pixels that the image takes in the SAM's input.
        cell (int): Distance of the lines of the grid. Defaults to 16.

    Returns:
        tuple: Steps on the grid, steps that chance would put there (as many as the share of lines that are on it),
        and all steps.
    """
    scale, on, expected, total = side / max(masks.shape[1:]), 0, 0.0, 0
    for axis in (1, 2):
        steps = np.diff(masks.astype(np.int8), axis=axis) != 0
        counts = steps.sum((0, 3 - axis))
        places = np.arange(1, masks.shape[axis]) * scale
        hit = np.abs(places - np.round(places / cell) * cell) <= 0.5
        on, expected, total = on + counts[hit].sum(), expected + counts.sum() * hit.mean(), total + counts.sum()
    return int(on), float(expected), int(total)

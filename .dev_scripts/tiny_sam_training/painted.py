"""Photographs painted anew from their own regions: natural outlines and colours, masks known by construction [ours].

The regions of a photograph at three scales become leaves, objects and groups; each leaf is painted with its mean colour
and a share of what the photograph had there.
"""

import cv2
import numpy as np
from skimage.segmentation import felzenszwalb

from .scenes import Scene, camera, number_parts
from .textures import PHOTOGRAPHS, SCENIC, photographs

# Felzenszwalb's scale and smallest region at 256 pixels, for leaves, objects and groups.
SCALES = ((60, 80), (130, 250), (320, 700))


def make_painted(seed: tuple, size: int = 256) -> Scene:
    """Paints a window of a photograph anew.

    Args:
        seed (tuple[int]): Seed of ``numpy.random.default_rng``; the same seed and size give the same scene.
        size (int): Side in pixels. Defaults to 256.
    """
    rng = np.random.default_rng(seed)
    photo = photographs()[PHOTOGRAPHS.index(SCENIC[rng.integers(len(SCENIC))])]
    window = window_of(rng, photo, size)
    leaves, *coarser = _regions(rng, window)
    objects = majority(leaves, coarser[0])
    groups = majority(objects[leaves], coarser[1])[objects]
    parts = leaves + 1
    scene = number_parts(parts, [0, *objects + 1], [0, *groups + 1])
    return Scene(camera(rng, _paint(rng, window, leaves, objects)), *scene)


def window_of(rng, photo, size):
    """(size, size, 3): much of a photograph, turned a little now and then."""
    height, width = photo.shape[:2]
    side = min(height, width) * rng.uniform(0.5, 1)
    turn = rng.uniform(-0.3, 0.3) if rng.random() < 0.3 else 0
    reach = side / 2 * (abs(np.cos(turn)) + abs(np.sin(turn)))
    x, y = (rng.uniform(min(reach, n / 2), max(n - reach, n / 2)) for n in (width, height))
    cos, sin = np.cos(turn) * side / size, np.sin(turn) * side / size
    middle = (size - 1) / 2
    matrix = np.float32([[cos, -sin, x - middle * (cos - sin)], [sin, cos, y - middle * (sin + cos)]])
    if side > size:
        photo = cv2.GaussianBlur(photo, (0, 0), 0.4 * side / size)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(photo, matrix, (size, size), flags=flags, borderMode=cv2.BORDER_REFLECT_101)


def _regions(rng, window):
    """Label maps at the three scales, each from 0 without gaps."""
    share = (len(window) / 256) ** 2
    jitter = np.exp(rng.uniform(np.log(0.6), np.log(1.6)))
    sigma = rng.uniform(0.7, 1.1)
    return [
        felzenszwalb(window, scale=scale * jitter, sigma=sigma, min_size=max(4, int(smallest * jitter * share)))
        for scale, smallest in SCALES
    ]


def majority(fine, coarse):
    """For each label of ``fine`` the label of ``coarse`` that covers most of it."""
    counts = np.zeros((fine.max() + 1, coarse.max() + 1), np.int64)
    np.add.at(counts, (fine.ravel(), coarse.ravel()), 1)
    return counts.argmax(1)


def _paint(rng, window, leaves, objects):
    """(S, S, 3): flattened to the leaves' means by a share, objects moved apart in colour or not."""
    sums = np.stack([np.bincount(leaves.ravel(), window[..., c].ravel()) for c in range(3)], 1)
    means = (sums / np.bincount(leaves.ravel())[:, None]).astype(np.float32)
    detail = (window - means[leaves]) * np.float32(rng.uniform(0.4, 1))
    if rng.random() < 0.5:
        shift = rng.normal(0, rng.uniform(0, 0.08), (objects.max() + 1, 3)).astype(np.float32)
        means = means + shift[objects]
    middle = means.mean(0)
    means = middle + (means - middle) * np.float32(rng.uniform(0.6, 1.3))
    soft = cv2.GaussianBlur(means[leaves], (0, 0), rng.uniform(0.4, 0.9))
    return soft + detail

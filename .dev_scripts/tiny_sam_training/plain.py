"""Photographs as they are, divided at three scales by a method that knows no objects [ours].

The divisions are often wrong, each in its own way; what many of them agree on is mostly right, and no painted border
looks like a real one.
"""

import numpy as np

from .merging import descriptors, merged, superpixels
from .painted import window_of
from .scenes import Scene, number_parts
from .textures import PHOTOGRAPHS, SCENIC, photographs

#: About so many leaves, objects and groups has a photograph; people draw 6 to 64 segments.
COUNTS = (30, 12, 5)


def make_plain(seed: tuple, size: int = 384) -> Scene:
    """Takes a window of a photograph.

    Args:
        seed (tuple[int]): Seed of ``numpy.random.default_rng``; the same seed and size give the same scene.
        size (int): Side in pixels. Defaults to 384.
    """
    rng = np.random.default_rng(seed)
    photo = photographs()[PHOTOGRAPHS.index(SCENIC[rng.integers(len(SCENIC))])]
    window = window_of(rng, photo, size)
    leaves, objects, groups = regions(rng, window)
    if rng.random() < 0.5:
        window = window + rng.standard_normal(window.shape) * rng.exponential(0.01)
    image = np.clip(window * 255 + 0.5, 0, 255).astype(np.uint8)
    return Scene(image, *number_parts(leaves + 1, [0, *objects + 1], [0, *groups + 1]))


def regions(rng, window: np.ndarray) -> tuple:
    """Divides a photograph; how many regions there are, and what counts how much, is drawn.

    Args:
        rng (numpy.random.Generator): Source of chance.
        window (ndarray): (S, S, 3), float32 in [0, 1].

    Returns:
        tuple[ndarray]: Leaves (S, S), int, from 0; the object of each leaf and the group of each leaf, from 0.
    """
    share = (len(window) / 384) ** 2
    pixels = superpixels(window, smallest=max(4, int(60 * share)), sigma=rng.uniform(0.7, 1.0))
    features = descriptors(window, np.exp(rng.normal(0, 0.4, 4)))
    fine, *coarser = merged(pixels, features, (np.array(COUNTS) * np.exp(rng.normal(0, 0.3))).astype(int).clip(2))
    # Of each leaf, whatever superpixel of it comes first: regions are unions of those before.
    first = np.unique(fine, return_index=True)[1]
    return fine[pixels], coarser[0][first], coarser[1][first]

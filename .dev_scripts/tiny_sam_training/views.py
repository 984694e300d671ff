"""How a scene is shown to the small SAM: cut to a photograph's shape, flipped, its colours moved, padded [ours]."""

from dataclasses import dataclass

import cv2
import numpy as np

from .scenes import Scene


@dataclass
class View:
    """A scene as the encoder sees it.

    Args:
        image (ndarray): (S, S, 3), uint8, RGB; zero in the padding, bottom and right.
        leaves (ndarray): (S, S), uint8, as in ``Scene``; 0 in the padding.
        objects (ndarray): (256,), uint8, as in ``Scene``.
        groups (ndarray): (256,), uint8, likewise.
        valid (ndarray): (2,), int64: height and width without the padding.
    """

    image: np.ndarray
    leaves: np.ndarray
    objects: np.ndarray
    groups: np.ndarray
    valid: np.ndarray


def shown(rng, scene: Scene, size: int) -> View:
    """Scales a square scene, cuts it to a photograph's shape, flips it, and moves its colours."""
    image, leaves = scene.image, scene.leaves
    scaled = int(size * np.exp(rng.uniform(0, np.log(1.3))))
    image = cv2.resize(image, (scaled, scaled), interpolation=cv2.INTER_CUBIC)
    leaves = cv2.resize(leaves, (scaled, scaled), interpolation=cv2.INTER_NEAREST)
    shape = [size, size]
    shape[rng.integers(2)] = int(size * rng.choice([0.667, 0.75, 1, rng.uniform(0.55, 1)], p=[0.6, 0.15, 0.1, 0.15]))
    top, left = (rng.integers(scaled - s + 1) for s in shape)
    window = np.s_[top : top + shape[0], left : left + shape[1]]
    image, leaves = image[window], leaves[window]
    if rng.random() < 0.5:
        image, leaves = image[:, ::-1], leaves[:, ::-1]
    if rng.random() < 0.15:
        image, leaves = image[::-1], leaves[::-1]
    if rng.random() < 0.15:
        image, leaves, shape = image.transpose(1, 0, 2), leaves.T, shape[::-1]
    image = image[..., rng.permutation(3)] if rng.random() < 0.2 else image
    image = np.clip(image * rng.normal(1, 0.12) + rng.normal(0, 10), 0, 255).astype(np.uint8)
    padding = [(0, size - shape[0]), (0, size - shape[1])]
    image, leaves = np.pad(image, padding + [(0, 0)]), np.pad(leaves, padding)
    return View(image, leaves, scene.objects, scene.groups, np.int64(shape))

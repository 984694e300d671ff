"""Divides a photograph by colour and by what an ImageNet network sees: merges neighbours that are alike [ours]."""

from functools import lru_cache

import cv2
import numpy as np
import torch
from skimage.segmentation import felzenszwalb

from mmsampriors.masks.sam.tiny_encoder import Lite0Pyramid

#: Weights of colour, and of the backbone's strides 8, 16 and 32, in the distance of two regions.
WEIGHTS = (1.0, 0.5, 1.0, 1.0)


@lru_cache(maxsize=1)
def _backbone():
    return Lite0Pyramid().eval()


@torch.no_grad()
def descriptors(window: np.ndarray, factors=(1, 1, 1, 1)) -> np.ndarray:
    """Colours and deep features.

    Args:
        window (ndarray): (H, W, 3), float32 in [0, 1], sides multiples of 32.
        factors (tuple[float]): On :data:`WEIGHTS`.

    Returns:
        ndarray: (D, H / 4, W / 4), float32; distances are meant to be Euclidean.
    """
    color, *deep = np.multiply(WEIGHTS, factors)
    pixels = torch.from_numpy(np.ascontiguousarray(window)).permute(2, 0, 1)[None].mul(255).sub(127).div(128).float()
    side = window.shape[0] // 4, window.shape[1] // 4
    lab = cv2.cvtColor(window.astype(np.float32), cv2.COLOR_RGB2LAB) / [25, 12, 12]
    lab = cv2.resize(lab.astype(np.float32), side[::-1], interpolation=cv2.INTER_AREA).transpose(2, 0, 1)
    parts = [np.float32(color) * lab]
    for weight, level in zip(deep, _backbone()(pixels)[1:]):
        level = (level - level.mean((2, 3), keepdim=True)) / (level.std((2, 3), keepdim=True) + 1e-3)
        level = torch.nn.functional.interpolate(level, side, mode='bilinear', align_corners=False)[0]
        parts.append(np.float32(weight / len(level) ** 0.5) * level.numpy())
    return np.concatenate(parts)


def superpixels(window: np.ndarray, smallest: int, sigma: float) -> np.ndarray:
    """(H, W), int, from 0 without gaps."""
    return felzenszwalb(window, scale=40, sigma=sigma, min_size=smallest)


def merged(labels: np.ndarray, features: np.ndarray, counts: list) -> list:
    """Merges the two neighbours that Ward's criterion finds most alike, until so many regions are left.

    Args:
        labels (ndarray): (S, S), int, from 0 without gaps.
        features (ndarray): (D, S / 4, S / 4).
        counts (list[int]): Numbers of regions, falling.

    Returns:
        list[ndarray]: For each count, the region of each label, from 0 without gaps.
    """
    number = labels.max() + 1
    small = cv2.resize(labels.astype(np.int32), features.shape[:0:-1], interpolation=cv2.INTER_NEAREST).ravel()
    sizes = np.bincount(labels.ravel(), minlength=number).astype(np.float64)
    inside = np.maximum(np.bincount(small, minlength=number), 1)
    means = np.stack([np.bincount(small, f.ravel(), number) / inside for f in features], 1)
    pairs = [labels[:, :-1].ravel() * number + labels[:, 1:].ravel(), labels[:-1].ravel() * number + labels[1:].ravel()]
    a, b = np.divmod(np.unique(np.concatenate(pairs)), number)
    edges = np.unique(np.sort(np.stack([a, b], 1)[a != b], 1), axis=0)
    region, found, left = np.arange(number), [], number
    for count in counts:
        while left > count and len(edges):
            i, j = edges.T
            gap = ((means[i] - means[j]) ** 2).sum(1)
            keep, drop = edges[(sizes[i] * sizes[j] / (sizes[i] + sizes[j]) * gap).argmin()]
            means[keep] = (means[keep] * sizes[keep] + means[drop] * sizes[drop]) / (sizes[keep] + sizes[drop])
            sizes[keep] += sizes[drop]
            region[region == drop] = keep
            edges[edges == drop] = keep
            edges = np.unique(np.sort(edges[edges[:, 0] != edges[:, 1]], 1), axis=0)
            left -= 1
        found.append(np.unique(region, return_inverse=True)[1])
    return found

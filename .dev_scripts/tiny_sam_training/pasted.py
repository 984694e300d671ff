"""Real things before real photographs: cut-outs in front of each other, lit, shadowed, soft at their edges [ours].

What they cover is known to the pixel. The photograph behind is divided as in ``plain.py``; a thing has parts where its
colours fall apart.
"""

from functools import lru_cache

import cv2
import numpy as np
from skimage.segmentation import felzenszwalb

from .debian_images import backgrounds, drawn_stamp
from .painted import window_of
from .plain import regions
from .scenes import Scene, camera, number_parts
from .textures import PHOTOGRAPHS, SCENIC, Material, photographs, smooth_noise

#: Of a thing's own parts: Felzenszwalb's scale, and the share of the thing that the smallest has.
PART_SCALE, SMALLEST_PART = 250, 0.06
#: Different views of photographs that things are put before: dividing one takes longer than all the rest.
VIEWS = 150


def make_pasted(seed: tuple, size: int = 384) -> Scene:
    """Pastes things on a photograph.

    Args:
        seed (tuple[int]): Seed of ``numpy.random.default_rng``; the same seed and size give the same scene.
        size (int): Side in pixels. Defaults to 384.
    """
    rng = np.random.default_rng(seed)
    image, (parts, object_of, group_of) = _ground(rng, size)
    softness, group = rng.uniform(0.4, 1.2), max(group_of)
    for _ in range(rng.choice([1, 2, 3, 5, 8, 12], p=[0.12, 0.2, 0.24, 0.22, 0.14, 0.08])):
        thing = _changed(rng, drawn_stamp(rng), size)
        group += 1
        alike = rng.integers(2, 6) if max(thing.shape) < size * 0.35 and rng.random() < 0.25 else 1
        height, width = thing.shape[:2]
        labels = _parts(rng, thing)
        top, left = rng.integers(-height // 3, size - height // 2), rng.integers(-width // 3, size - width // 2)
        for _ in range(alike):
            owner = max(object_of) + 1
            if _paste(rng, image, parts, thing, labels + len(object_of), (top, left), softness):
                object_of += [owner] * (labels.max() + 1)
                group_of += [group] * (labels.max() + 1)
            top, left = top + int(rng.normal(0, height * 0.5)), left + int(rng.normal(0, width * 0.9))
            if rng.random() < 0.3:
                thing, labels = thing[:, ::-1], labels[:, ::-1]
    return Scene(camera(rng, image), *number_parts(parts, object_of, group_of))


def _ground(rng, size):
    """A photograph with its regions, or one material."""
    if rng.random() < 0.8:
        window, leaves, objects, groups = _view(int(rng.integers(VIEWS)), size)
        if rng.random() < 0.5:
            window, leaves = window[:, ::-1], leaves[:, ::-1]
        return window.copy(), (leaves.astype(np.int32) + 1, [0, *objects + 1], [0, *groups + 1])
    image = Material(rng).paint(rng, size, size)
    return np.ascontiguousarray(image, np.float32), (np.ones((size, size), np.int32), [0, 1], [0, 1])


@lru_cache(maxsize=VIEWS)
def _view(number, size):
    """A window of a photograph, and its :func:`regions`; the same for the same number."""
    rng = np.random.default_rng((number, 3))
    photos = backgrounds() + tuple(photographs()[PHOTOGRAPHS.index(name)] for name in SCENIC)
    window = window_of(rng, photos[number % len(photos)], size)
    return window, *regions(rng, window)


def _changed(rng, thing, size):
    """Scaled, turned and recoloured: (h, w, 4)."""
    side = np.exp(rng.uniform(np.log(0.08), np.log(0.75))) * size
    scale = side / max(thing.shape[:2])
    stretch = np.exp(rng.normal(0, 0.1))
    shape = [max(6, int(n * scale * f)) for n, f in zip(thing.shape[:2], (stretch, 1 / stretch))]
    thing = cv2.resize(thing, shape[::-1], interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
    if rng.random() < 0.5:
        thing = thing[:, ::-1]
    if rng.random() < 0.3:
        height, width = thing.shape[:2]
        reach = int(np.hypot(height, width)) + 2
        matrix = cv2.getRotationMatrix2D((width / 2, height / 2), rng.normal(0, 25), 1)
        matrix[:, 2] += [(reach - width) / 2, (reach - height) / 2]
        thing = cv2.warpAffine(np.ascontiguousarray(thing), matrix, (reach, reach), flags=cv2.INTER_LINEAR)
    thing = np.clip(thing, 0, 1)
    color = thing[..., :3]
    if rng.random() < 0.3:
        color = color[..., rng.permutation(3)]
    color = color * rng.normal(1, 0.15, 3).astype(np.float32) + np.float32(rng.normal(0, 0.05))
    if rng.random() < 0.5:
        light = smooth_noise(rng, *thing.shape[:2], rng.uniform(1, 3), 0.4)
        color = color * (1 + np.float32(rng.exponential(0.15)) * light[..., None])
    return np.dstack([color, thing[..., 3]]).astype(np.float32)


def _parts(rng, thing):
    """(h, w), int: number of the part of each pixel, from 0; what lies outside the thing counts for nothing."""
    solid = thing[..., 3] > 0.5
    smallest = int(solid.sum() * SMALLEST_PART * np.exp(rng.normal(0, 0.4)))
    if smallest < 40 or rng.random() < 0.35:
        return np.zeros(solid.shape, np.int32)
    color = np.where(solid[..., None], thing[..., :3], -1)
    return felzenszwalb(color, scale=PART_SCALE, sigma=0.8, min_size=smallest).astype(np.int32)


def _paste(rng, image, parts, thing, labels, place, softness) -> bool:
    """Puts a thing on the canvas, in place; whether any of it can be seen."""
    size, (top, left), (height, width) = len(image), place, thing.shape[:2]
    y0, x0, y1, x1 = max(top, 0), max(left, 0), min(top + height, size), min(left + width, size)
    if y1 - y0 < 6 or x1 - x0 < 6:
        return False
    inner, window = np.s_[y0 - top : y1 - top, x0 - left : x1 - left], np.s_[y0:y1, x0:x1]
    thing, labels = thing[inner], labels[inner]
    alpha = cv2.GaussianBlur(np.ascontiguousarray(thing[..., 3]), (0, 0), softness)
    if rng.random() < 0.5:
        shift = np.float32([[1, 0, rng.normal(0, 5)], [0, 1, rng.normal(3, 5)]])
        shadow = cv2.GaussianBlur(cv2.warpAffine(alpha, shift, alpha.shape[::-1]), (0, 0), rng.uniform(1, 10))
        image[window] *= 1 - np.float32(rng.uniform(0.1, 0.6)) * shadow[..., None]
    image[window] += alpha[..., None] * (thing[..., :3] - image[window])
    seen = thing[..., 3] > 0.5
    parts[window][seen] = labels[seen]
    return True

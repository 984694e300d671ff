"""Scenes whose masks are exactly known: layered objects with parts, in groups, before a divided ground [ours]."""

from dataclasses import dataclass

import cv2
import numpy as np
from skimage.measure import label as connected_components

from .outlines import inset, outline, partition
from .textures import Material, smooth_noise

MAX_LEAVES = 255
MIN_LEAF_PIXELS = 12


@dataclass
class Scene:
    """An image and what is in it, at three granularities.

    Args:
        image (ndarray): (S, S, 3), uint8, RGB.
        leaves (ndarray): (S, S), uint8. Each label is one connected part as it is seen; 0 is unlabelled (specks).
        objects (ndarray): (256,), uint8: the object of each leaf. Entry 0 is 0.
        groups (ndarray): (256,), uint8: the group of each leaf. Entry 0 is 0.
    """

    image: np.ndarray
    leaves: np.ndarray
    objects: np.ndarray
    groups: np.ndarray

    def label_maps(self) -> tuple:
        """Leaves, objects and groups as three (S, S) uint8 maps, each a union of the one before it."""
        return self.leaves, self.objects[self.leaves], self.groups[self.leaves]


class _Canvas:
    """Paints layers back to front and keeps account of whose every pixel is."""

    def __init__(self, rng, size):
        self.rng, self.size = rng, size
        self.image = np.zeros((size, size, 3), np.float32)
        self.parts = np.zeros((size, size), np.int32)
        self.object_of, self.group_of = [0], [0]
        self.softness = rng.choice([0.4, 0.6, 0.9, 1.5], p=[0.3, 0.35, 0.25, 0.1])

    def add(self, labels, materials, top, left, group):
        """Adds one object.

        Args:
            labels (ndarray): (h, w), int; -1 outside the object, else the part's index.
            materials (list[Material]): One a part.
            top (int): Row of the box on the canvas, may be negative.
            left (int): Column of the box on the canvas, may be negative.
            group (int): Group number from 1.
        """
        y0, x0 = max(top, 0), max(left, 0)
        y1, x1 = min(top + labels.shape[0], self.size), min(left + labels.shape[1], self.size)
        if y1 - y0 < 4 or x1 - x0 < 4:
            return
        labels = labels[y0 - top : y1 - top, x0 - left : x1 - left]
        window = np.s_[y0:y1, x0:x1]
        owner = max(self.object_of) + 1
        self._shadow(labels >= 0, window)
        paint = self._paint(labels, materials)
        alpha = cv2.GaussianBlur((labels >= 0).astype(np.float32), (0, 0), self.softness)[..., None]
        self.image[window] += alpha * (paint - self.image[window])
        for part in np.unique(labels[labels >= 0]):
            self.parts[window][labels == part] = len(self.object_of)
            self.object_of.append(owner)
            self.group_of.append(group)

    def _paint(self, labels, materials):
        """(h, w, 3): the parts' materials, blended over their borders, under one light."""
        rng, (height, width) = self.rng, labels.shape
        paint = materials[0].paint(rng, height, width)
        for part in range(1, len(materials)):
            mask = labels == part
            if mask.any():
                alpha = cv2.GaussianBlur(mask.astype(np.float32), (0, 0), self.softness)[..., None]
                paint += alpha * (materials[part].paint(rng, height, width) - paint)
        if rng.random() < 0.4:
            light = smooth_noise(rng, height, width, rng.uniform(1, 3), 0.4)
            paint *= 1 + rng.exponential(0.12) * light[..., None]
        if rng.random() < 0.3:
            depth = cv2.distanceTransform(np.pad(labels >= 0, 1).astype(np.uint8), cv2.DIST_L2, 3)[1:-1, 1:-1]
            rim = np.exp(-depth / (0.03 + depth.max() * rng.uniform(0.1, 0.5)))
            paint *= 1 - rng.uniform(0.1, 0.5) * rim[..., None]
        return paint

    def _shadow(self, mask, window):
        """Darkens the ground around the object to come."""
        if self.rng.random() < 0.3:
            shift = np.float32([[1, 0, self.rng.normal(0, 5)], [0, 1, self.rng.normal(2, 5)]])
            shadow = cv2.warpAffine(mask.astype(np.float32), shift, mask.shape[::-1])
            shadow = cv2.GaussianBlur(shadow, (0, 0), self.rng.uniform(1, 8))
            self.image[window] *= 1 - self.rng.uniform(0.1, 0.6) * shadow[..., None]


def _ground(rng, canvas):
    """Divides the ground; a division may itself have parts that look alike."""
    size = canvas.size
    division = partition(rng, size, size, rng.choice([1, 2, 3, 4, 6, 9], p=[0.12, 0.23, 0.23, 0.2, 0.14, 0.08]))
    color = None if rng.random() < 0.7 else Material(rng).color
    for index in np.unique(division):
        material = Material(rng) if color is None else Material(rng, color).relative(rng)
        rows, columns = np.nonzero(division == index)
        window = np.s_[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
        mask = division[window] == index
        labels, materials = _parts(rng, mask, material, 0.35)
        canvas.add(labels, materials, window[0].start, window[1].start, int(index) + 1)
    return int(division.max()) + 1


def _parts(rng, mask, material, chance):
    """Cuts an object into parts with ``chance``: part labels (-1 outside) and a material each."""
    labels = np.zeros(mask.shape, np.int32)
    if rng.random() < chance:
        labels = inset(rng, mask) if rng.random() < 0.4 else partition(rng, *mask.shape, rng.integers(2, 6))
        labels = labels.astype(np.int32)
        if rng.random() < 0.25:
            labels += (labels.max() + 1) * inset(rng, mask)
    labels[~mask] = -1
    materials = [material] + [material.relative(rng) for _ in range(max(0, labels.max()))]
    return labels, materials


def _objects(rng, canvas, group, room):
    """Adds objects, some in flocks that make one group, some as parts of a loose pile."""
    while room > 0:
        side = np.exp(rng.uniform(np.log(14), np.log(210)))
        aspect = np.exp(rng.normal(0, 0.5))
        height, width = (np.array([side * aspect, side / aspect]) * canvas.size / 256).astype(int).clip(8, canvas.size)
        mask = outline(rng, height, width)
        labels, materials = _parts(rng, mask, Material(rng), 0.5)
        top = rng.integers(-height // 3, canvas.size - height // 2)
        left = rng.integers(-width // 3, canvas.size - width // 2)
        group += rng.random() < 0.75
        flock = rng.integers(2, 7) if side < 80 and rng.random() < 0.3 else 1
        for _ in range(flock):
            canvas.add(labels, materials, top, left, group)
            top, left = top + int(rng.normal(0, height * 0.5)), left + int(rng.normal(0, width * 0.9))
            if rng.random() < 0.5:
                labels = labels[:, ::-1]
        room -= 1


def camera(rng, image):
    """What a camera does: light, focus, tone, grain, compression. (S, S, 3) float to uint8."""
    size = len(image)
    if rng.random() < 0.5:
        image = image * (1 + rng.exponential(0.12) * smooth_noise(rng, size, size, 1.5, 0.4)[..., None])
    image = image * rng.normal(1, 0.06, 3) + rng.normal(0, 0.03)
    if rng.random() < 0.4:
        image = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.3, 1.1))
    if rng.random() < 0.7:
        image = image * rng.uniform(0.6, 1.1) / max(0.1, np.percentile(image, 97))
    image = np.clip(image, 0, 1) ** np.exp(rng.normal(0, 0.25))
    if rng.random() < 0.2:
        grey = image.mean(2, keepdims=True)
        image = grey + (image - grey) * rng.uniform(0, 0.7)
    image = image + rng.standard_normal(image.shape) * rng.exponential(0.015)
    image = np.clip(image * 255, 0, 255).astype(np.uint8)
    _, code = cv2.imencode('.jpg', image, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(50, 98))])
    return cv2.imdecode(code, cv2.IMREAD_COLOR)


def number_parts(parts, object_of, group_of) -> tuple:
    """Connected parts become leaves, largest first; specks become 0.

    Args:
        parts (ndarray): (S, S), int, part numbers from 1.
        object_of (list[int]): The object of each part, from 1; entry 0 is 0.
        group_of (list[int]): The group of each part, likewise.

    Returns:
        tuple[ndarray]: ``leaves``, ``objects`` and ``groups`` of a :class:`Scene`.
    """
    components = connected_components(parts, background=0, connectivity=1)
    areas = np.bincount(components.ravel())
    areas[0] = 0
    order = np.argsort(-areas, kind='stable')[:MAX_LEAVES]
    order = order[areas[order] >= MIN_LEAF_PIXELS]
    number = np.zeros(len(areas), np.uint8)
    number[order] = np.arange(1, len(order) + 1)
    part_of = np.zeros(len(areas), np.int64)
    part_of[components.ravel()] = parts.ravel()
    objects, groups = np.zeros(256, np.uint8), np.zeros(256, np.uint8)
    for table, source in ((objects, object_of), (groups, group_of)):
        table[1 : len(order) + 1] = np.unique(np.array(source)[part_of[order]], return_inverse=True)[1] + 1
    return number[components], objects, groups


def make_scene(seed: tuple, size: int = 256) -> Scene:
    """Makes one scene.

    Args:
        seed (tuple[int]): Seed of ``numpy.random.default_rng``; the same seed and size give the same scene.
        size (int): Side in pixels. Defaults to 256.
    """
    rng = np.random.default_rng(seed)
    canvas = _Canvas(rng, size)
    groups = _ground(rng, canvas) + 1
    _objects(rng, canvas, groups, int(rng.choice([0, 1, 2, 4, 7, 12, 18], p=[0.08, 0.14, 0.2, 0.22, 0.2, 0.11, 0.05])))
    return Scene(camera(rng, canvas.image), *number_parts(canvas.parts, canvas.object_of, canvas.group_of))

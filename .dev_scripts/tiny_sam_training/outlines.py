"""Outlines of objects and how objects fall into parts [ours].

All masks are bool arrays of the size asked for; every function takes a ``numpy.random.Generator`` first.
"""

import cv2
import numpy as np

from .textures import smooth_noise


def _fill(points, height, width):
    """Fills a polygon whose (N, 2) points x, y are in [-1, 1] of the box."""
    scaled = (np.asarray(points) * 0.5 + 0.5) * [width - 1, height - 1]
    canvas = np.zeros((height, width), np.uint8)
    cv2.fillPoly(canvas, [np.round(scaled * 16).astype(np.int32)], 1, shift=4)
    return canvas > 0


def _polar(radius, angles):
    return np.stack([radius * np.cos(angles), radius * np.sin(angles)], 1)


def blob(rng, height, width):
    """A closed curve of a few harmonics."""
    angles = np.linspace(0, 2 * np.pi, 96, endpoint=False)
    radius = np.ones(96)
    for k in range(2, rng.integers(4, 12)):
        radius += rng.normal(0, 0.5 / k ** rng.uniform(0.8, 1.6)) * np.cos(k * angles + rng.uniform(0, 2 * np.pi))
    return _fill(_polar(np.abs(radius) / np.abs(radius).max(), angles), height, width)


def ellipse(rng, height, width):
    """The ellipse that fills the box."""
    return _fill(_polar(1, np.linspace(0, 2 * np.pi, 64, endpoint=False)), height, width)


def polygon(rng, height, width):
    """A star-shaped polygon of 3 to 9 corners."""
    count = rng.integers(3, 10)
    angles = np.sort(rng.uniform(0, 2 * np.pi, count))
    return _fill(_polar(rng.uniform(0.5, 1, count), angles), height, width)


def rectangle(rng, height, width):
    """A rectangle, leaning or not."""
    lean = rng.uniform(-0.4, 0.4, 2) * (rng.random() < 0.5)
    a, b = lean
    return _fill([[-1, -1 + abs(b)], [1 - abs(a), -1], [1, 1 - abs(b)], [-1 + abs(a), 1]], height, width)


def crown(rng, height, width):
    """A ragged outline: foliage, rock, cloud."""
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j].astype(np.float32)
    noise = smooth_noise(rng, height, width, rng.uniform(2, 6), rng.uniform(1, 2.5))
    return x**2 + y**2 + noise * rng.uniform(0.1, 0.3) < 0.7


def limbs(rng, height, width):
    """A body with limbs: ellipses and thick strokes that meet."""
    canvas = np.zeros((height, width), np.uint8)
    side, center = min(height, width), np.array([width, height]) / 2
    axes = np.maximum(2, np.array([width, height]) * rng.uniform(0.15, 0.32, 2)).astype(int)
    cv2.ellipse(canvas, tuple(center.astype(int).tolist()), tuple(axes.tolist()), rng.uniform(0, 180), 0, 360, 1, -1)
    for _ in range(rng.integers(2, 7)):
        point, heading = center + rng.uniform(-1, 1, 2) * axes * 0.7, rng.uniform(0, 2 * np.pi)
        thickness = max(2, int(side * rng.uniform(0.04, 0.16)))
        for _ in range(rng.integers(2, 5)):
            end = point + side * rng.uniform(0.08, 0.2) * np.array([np.cos(heading), np.sin(heading)])
            cv2.line(canvas, tuple(point.astype(int).tolist()), tuple(end.astype(int).tolist()), 1, thickness)
            point, heading = end, heading + rng.normal(0, 0.5)
        if rng.random() < 0.4:
            cv2.circle(canvas, tuple(point.astype(int).tolist()), int(thickness * rng.uniform(0.6, 1.6)), 1, -1)
    return canvas > 0


def strokes(rng, height, width):
    """Thin things: branches, wires, poles."""
    canvas = np.zeros((height, width), np.uint8)
    for _ in range(rng.integers(1, 4)):
        point, heading = rng.uniform(0, 1, 2) * [width, height], rng.uniform(0, 2 * np.pi)
        thickness, bend = int(rng.integers(2, 9)), rng.uniform(0, 0.3)
        for _ in range(rng.integers(4, 16)):
            end = point + max(height, width) * 0.12 * np.array([np.cos(heading), np.sin(heading)])
            cv2.line(canvas, tuple(point.astype(int).tolist()), tuple(end.astype(int).tolist()), 1, thickness)
            point, heading = end, heading + rng.normal(0, bend)
    return canvas > 0


def blocks(rng, height, width):
    """Upright boxes side by side: buildings, furniture."""
    canvas, x = np.zeros((height, width), bool), 0
    while x < width:
        step = max(3, int(width * rng.uniform(0.2, 0.7)))
        canvas[int(height * rng.uniform(0, 0.5)) :, x : x + step] = True
        x += step
    return canvas


OUTLINES = (blob, ellipse, polygon, rectangle, crown, limbs, strokes, blocks)
CHANCES = (0.26, 0.1, 0.11, 0.15, 0.13, 0.13, 0.05, 0.07)


def outline(rng, height: int, width: int) -> np.ndarray:
    """An object's mask in its box: (height, width) bool, turned and warped now and then."""
    mask = OUTLINES[rng.choice(len(OUTLINES), p=CHANCES)](rng, height, width)
    if rng.random() < 0.35:
        matrix = cv2.getRotationMatrix2D((width / 2, height / 2), rng.uniform(-180, 180), rng.uniform(0.75, 1))
        mask = cv2.warpAffine(mask.astype(np.uint8), matrix, (width, height), flags=cv2.INTER_NEAREST) > 0
    return warp(rng, mask, rng.uniform(0, 0.06)) if rng.random() < 0.4 else mask


def warp(rng, labels: np.ndarray, strength: float) -> np.ndarray:
    """Moves pixels by smooth noise of ``strength`` times the longer side; nearest, so labels stay labels."""
    height, width = labels.shape
    coarsest, roughness = rng.uniform(2, 8), rng.uniform(0.5, 1.6)
    # A plain float: numpy 2 would make float64 of the noise, which cv2.remap does not take.
    reach = float(strength * max(height, width))
    shift = [smooth_noise(rng, height, width, coarsest, roughness) * reach for _ in range(2)]
    y, x = np.mgrid[:height, :width].astype(np.float32)
    moved = cv2.remap(
        labels.astype(np.uint8), x + shift[0], y + shift[1], cv2.INTER_NEAREST, borderMode=cv2.BORDER_REPLICATE
    )
    return moved.astype(labels.dtype)


def partition(rng, height: int, width: int, count: int) -> np.ndarray:
    """Cuts a box into at most ``count`` regions: (height, width), uint8, labels from 0.

    Bands, cells around seeds, or levels of a noise field.
    """
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j].astype(np.float32)
    kind = rng.random()
    if kind < 0.5:
        angle = rng.normal(np.pi / 2, 0.25) if rng.random() < 0.6 else rng.uniform(0, 2 * np.pi)
        bend = rng.choice([0, 0.05, 0.15]) * smooth_noise(rng, height, width, rng.uniform(2, 8), rng.uniform(0.6, 2))
        field = x * np.cos(angle) + y * np.sin(angle) + bend
    elif kind < 0.75:
        seeds = rng.uniform(-1, 1, (count, 2)).astype(np.float32)
        distance = (x[..., None] - seeds[:, 0]) ** 2 + (y[..., None] - seeds[:, 1]) ** 2
        labels = distance.argmin(2).astype(np.uint8)
        return warp(rng, labels, rng.choice([0, 0.02, 0.08]))
    else:
        field = smooth_noise(rng, height, width, rng.uniform(1, 3), rng.uniform(0.3, 0.9))
    cuts = np.sort(rng.uniform(-0.85, 0.85, count - 1)) * np.abs(field).max()
    return np.digitize(field, cuts).astype(np.uint8)


def inset(rng, mask: np.ndarray) -> np.ndarray:
    """Marks smaller outlines on an object (windows, faces, prints): uint8, 0 for the ground, 1 for the marks."""
    height, width = mask.shape
    marks = np.zeros((height, width), np.uint8)
    for _ in range(rng.integers(1, 4)):
        h, w = (np.array([height, width]) * rng.uniform(0.2, 0.6, 2)).astype(int).clip(4)
        if h > height or w > width:
            continue
        top, left = rng.integers(height - h + 1), rng.integers(width - w + 1)
        marks[top : top + h, left : left + w] |= outline(rng, h, w)
    return marks

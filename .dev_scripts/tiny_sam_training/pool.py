"""A pool of scenes on disk, and batches of clicks drawn from it [ours]."""

from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from mmsampriors.files import written_whole

from .painted import make_painted
from .scenes import make_scene

SHARD = 100
MASK_STRIDE = 4  # of the mask decoder's output to the image


def _write_shard(path: Path, make, seed: int, shard: int) -> Path:
    """Makes ``SHARD`` scenes and writes them whole: a killed run leaves no half-written shard."""
    scenes = [make((seed, shard * SHARD + i)) for i in range(SHARD)]
    arrays = {key: np.stack([getattr(s, key) for s in scenes]) for key in ('image', 'leaves', 'objects', 'groups')}
    with written_whole(path) as part, open(part, 'wb') as file:
        np.savez(file, **arrays)
    return path


def make_pool(folder, seed: int, shards: int, painted: int, workers: int) -> list:
    """Makes what is missing of the pool, with progress.

    Args:
        folder (str | Path): Where the shards are kept.
        seed (int): Seed of the scenes.
        shards (int): Number of shards of ``SHARD`` procedural scenes each.
        painted (int): Number of shards of ``SHARD`` photographs painted anew.
        workers (int): Processes.

    Returns:
        tuple[list[Path]]: The shards of both kinds, each in order.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    kinds = [
        [(folder / f'{name}{seed}_{shard:04d}.npz', make, seed, shard) for shard in range(count)]
        for name, make, count in (('seed', make_scene, shards), ('painted', make_painted, painted))
    ]
    missing = [job for jobs in kinds for job in jobs if not job[0].exists()]
    # Before processes are forked: OpenCV waits for ever in a child for threads that only its parent has.
    cv2.setNumThreads(1)
    if missing:
        with ProcessPoolExecutor(workers) as executor:
            list(tqdm(executor.map(_write_shard, *zip(*missing)), total=len(missing), desc='scenes', unit='shard'))
    return tuple([job[0] for job in jobs] for jobs in kinds)


@dataclass
class Clicks:
    """A batch of images with P prompts each.

    Args:
        corner (tuple[int]): Row and column, in units of 16 pixels, of the window of the input that the images are.
        images (Tensor): (B, 3, S, S), float32 in [0, 255], zero-padded bottom and right as SAM does after normalising.
        valid (Tensor): (B, 2), int64: height and width of the image within the padding.
        points (Tensor): (B, P, 2), float32, x, y in pixels of the Sam's input, like the boxes.
        chosen (Tensor): (B, P), int64: one of the targets, drawn among those with weight.
        boxes (Tensor): (B, P, 4), float32, XYXY in pixels, about the chosen target.
        targets (Tensor): (B, P, 3, S/4, S/4), float32 coverage: the leaf, the object and the group at the point.
        weights (Tensor): (B, P, 3), float32: 1 for a target to learn, 0 for a repeated or empty one.
        leaves (Tensor): (B, S, S), uint8, 0 where unlabelled or padded.
        objects (Tensor): (B, S, S), uint8, likewise.
    """

    corner: tuple
    images: Tensor
    valid: Tensor
    points: Tensor
    chosen: Tensor
    boxes: Tensor
    targets: Tensor
    weights: Tensor
    leaves: Tensor
    objects: Tensor


class ScenePool(torch.utils.data.Dataset):
    """Endless augmented batches; item ``step`` depends on ``seed`` and ``step`` alone, so a resumed run goes on alike.

    Args:
        kinds (tuple[list[Path]]): Shards from :func:`make_pool`; each kind gives the same share of the samples.
        seed (int): Seed of augmentation and clicks.
        batch (int): Images a batch.
        prompts (int): Prompts an image.
        small_steps (int): First steps, in which windows of half the side stand for the whole input, twice as many a
            batch: they teach the same things at half the cost.
    """

    def __init__(self, kinds, seed: int, batch: int, prompts: int, small_steps: int):
        self.kinds = [self._load(paths) for paths in kinds if paths]
        self.seed, self.batch, self.prompts, self.small_steps = seed, batch, prompts, small_steps

    @staticmethod
    def _load(paths):
        shards = [np.load(path) for path in paths]
        return {k: np.concatenate([s[k] for s in shards]) for k in ('image', 'leaves', 'objects', 'groups')}

    def __len__(self):
        return 2**31

    def __getitem__(self, step: int) -> Clicks:
        torch.set_num_threads(1)
        rng = np.random.default_rng((self.seed, 1, step))
        side = self.kinds[0]['leaves'].shape[-1]
        window, count = (side // 2, 2 * self.batch) if step < self.small_steps else (side, self.batch)
        corner = rng.integers((side - window) // 16 + 1, size=2)
        samples = [self._sample(rng, self.kinds[k], window) for k in rng.integers(len(self.kinds), size=count)]
        stacked = (torch.stack([torch.as_tensor(s[i]) for s in samples]) for i in range(9))
        batch = Clicks(tuple(corner.tolist()), *stacked)
        offset = torch.as_tensor(corner[::-1] * 16.0).float()
        batch.points += offset
        batch.boxes += offset.repeat(2)
        return batch

    def _sample(self, rng, arrays, window):
        index = rng.integers(len(arrays['image']))
        image, leaves, objects, groups = (arrays[k][index] for k in ('image', 'leaves', 'objects', 'groups'))
        image, leaves, (height, width) = _augment(rng, image, leaves, window)
        maps = np.stack([leaves, objects[leaves], groups[leaves]])
        points = _click(rng, maps[rng.integers(2)], (height, width), self.prompts)
        numbers = maps[:, points[:, 1], points[:, 0]].T  # (P, 3)
        targets = (maps[None] == numbers[..., None, None]) & (numbers > 0)[..., None, None]
        areas = targets.sum((2, 3))
        weights = (areas >= 48).astype(np.float32)
        weights[:, 1] *= areas[:, 1] != areas[:, 0]
        weights[:, 2] *= areas[:, 2] != areas[:, 1]
        chosen = np.int64([rng.choice(3, p=w / w.sum()) if w.any() else 0 for w in weights])
        boxes = np.stack([_box(rng, masks[i]) for masks, i in zip(targets, chosen)])
        cells = targets.reshape(*targets.shape[:2], len(leaves) // MASK_STRIDE, MASK_STRIDE, -1, MASK_STRIDE)
        coverage = cells.sum((3, 5), dtype=np.uint8).astype(np.float32) / MASK_STRIDE**2
        images = np.ascontiguousarray(image.transpose(2, 0, 1)).astype(np.float32)
        return (
            images,
            np.int64([height, width]),
            points.astype(np.float32),
            chosen,
            boxes,
            coverage,
            weights,
            maps[0],
            maps[1],
        )


def _augment(rng, image, leaves, size):
    """Scales, crops to a photograph's shape, flips, jitters colour; pads back to ``size`` squared."""
    scaled = int(size * np.exp(rng.uniform(0, np.log(max(len(leaves) / size, 1.15)))))
    smooth = cv2.INTER_AREA if scaled < len(leaves) else cv2.INTER_CUBIC
    image = cv2.resize(image, (scaled, scaled), interpolation=smooth)
    leaves = cv2.resize(leaves, (scaled, scaled), interpolation=cv2.INTER_NEAREST)
    shape = [size, size]
    shape[rng.integers(2)] = int(size * rng.choice([0.667, 0.75, 1, rng.uniform(0.55, 1)], p=[0.5, 0.15, 0.15, 0.2]))
    top, left = (rng.integers(scaled - s + 1) for s in shape)
    window = np.s_[top : top + shape[0], left : left + shape[1]]
    image, leaves = image[window], leaves[window]
    if rng.random() < 0.5:
        image, leaves = image[:, ::-1], leaves[:, ::-1]
    if rng.random() < 0.25:
        image, leaves = image[::-1], leaves[::-1]
    if rng.random() < 0.25:
        image, leaves = image.transpose(1, 0, 2), leaves.T
        shape = shape[::-1]
    image = image[..., rng.permutation(3)] if rng.random() < 0.3 else image
    image = np.clip(image * rng.normal(1, 0.12) + rng.normal(0, 10), 0, 255)
    padding = [(0, size - shape[0]), (0, size - shape[1])]
    return np.pad(image, padding + [(0, 0)]), np.pad(leaves, padding), shape


def _click(rng, labels, shape, count):
    """Half the points anywhere, half at the centres of the largest circles in regions: (P, 2), x, y."""
    height, width = shape
    anywhere = np.stack([rng.integers(width, size=count), rng.integers(height, size=count)], 1)
    areas = np.bincount(labels.ravel(), minlength=256).astype(np.float64)
    areas[0] = 0
    areas[areas < 100] = 0
    if not areas.any():
        return anywhere
    chosen = rng.choice(256, size=count // 2, p=areas**0.4 * (areas > 0) / (areas[areas > 0] ** 0.4).sum())
    for i, number in enumerate(chosen):
        rows, columns = np.nonzero(labels == number)
        top, left = rows.min(), columns.min()
        mask = (labels[top : rows.max() + 1, left : columns.max() + 1] == number).astype(np.uint8)
        distance = cv2.distanceTransform(np.pad(mask, 1), cv2.DIST_L2, 3)[1:-1, 1:-1]
        y, x = np.unravel_index(distance.argmax(), distance.shape)
        anywhere[i] = left + x, top + y
    return anywhere


def _box(rng, mask):
    """The mask's box, its sides moved by up to a tenth; zeros for an empty mask."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not len(rows):
        return np.zeros(4, np.float32)
    box = np.float32([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1])
    sides = np.float32([box[2] - box[0], box[3] - box[1]] * 2)
    return np.clip(box + rng.uniform(-0.1, 0.1, 4) * sides, 0, len(mask)).astype(np.float32)

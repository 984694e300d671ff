"""A pool of scenes on disk, and batches of clicks drawn from it [ours]."""

from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, fields
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from tqdm import tqdm

from mmsampriors.files import written_whole
from mmsampriors.masks.sam.tiny import EMBEDDING_STRIDE, IMAGE_SIZE

from .painted import make_painted
from .pasted import make_pasted
from .plain import make_plain
from .scenes import make_scene
from .views import View, shown

SHARD = 100
MASK_STRIDE = 2  # of the mask decoder's output to the image
SMALLEST_TARGET = 108  # pixels
#: The backbone's mean: zero to it, as ``Sam.preprocess`` leaves the padding.
GREY = 127
#: Cells of the embedding an image whose pairs the grouping loss compares.
GROUPED_CELLS = 400
#: Kind of scenes to what makes one of a seed and a size.
KINDS = dict(scenes=make_scene, painted=make_painted, pasted=make_pasted, plain=make_plain)


@dataclass(frozen=True)
class Shard:
    """``SHARD`` scenes of one kind, and their file."""

    path: Path
    kind: str
    seed: int
    number: int


def make_pool(folder, seed: int, counts: dict, workers: int, size: int = IMAGE_SIZE) -> list:
    """Makes what is missing of the pool, with progress.

    Args:
        folder (str | Path): Where the shards are kept.
        seed (int): Seed of the scenes.
        counts (dict): Kind, a key of :data:`KINDS`, to its number of shards.
        workers (int): Processes.
        size (int): Side of the images.

    Returns:
        list[list[Shard]]: One list a kind that has any, in order.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    kinds = [
        [Shard(folder / f'{kind}{seed}_{i:04d}.npz', kind, seed, i) for i in range(count)]
        for kind, count in counts.items()
        if count
    ]
    missing = [(shard, size) for shards in kinds for shard in shards if not shard.path.exists()]
    # Before processes are forked: OpenCV waits for ever in a child for threads that only its parent has.
    cv2.setNumThreads(1)
    if missing:
        with ProcessPoolExecutor(workers) as executor:
            list(tqdm(executor.map(_write_shard, *zip(*missing)), total=len(missing), desc='scenes', unit='shard'))
    return kinds


def _write_shard(shard: Shard, size: int) -> None:
    """Makes scenes and writes the file whole: a killed run leaves no half-written shard."""
    seeds = [(shard.seed, shard.number * SHARD + i) for i in range(SHARD)]
    views = [shown(np.random.default_rng((*seed, 2)), KINDS[shard.kind](seed, size), size) for seed in seeds]
    arrays = {field.name: np.stack([getattr(view, field.name) for view in views]) for field in fields(views[0])}
    with written_whole(shard.path) as part, open(part, 'wb') as file:
        np.savez(file, **arrays)


@dataclass
class Clicks:
    """A batch of B images with P prompts each, all in one window of an image: w cells of the embedding a side.

    Args:
        pixels (Tensor): (B, 3, H, H), uint8, RGB: the whole image, :data:`GREY` in the padding.
        corner (Tensor): (B, 2), int64: row and column of the window in cells of the embedding.
        inside (Tensor): (B, S, S), bool, S = 8 w: pixels of the window that are no padding.
        points (Tensor): (B, P, 2), float32, x, y in pixels of the whole input, like the boxes.
        chosen (Tensor): (B, P), int64: one of the targets, drawn among those with weight.
        boxes (Tensor): (B, P, 4), float32, XYXY in pixels, about the chosen target.
        boxed (Tensor): (B,), bool: whether the image is prompted with boxes, and not with clicks.
        maps (Tensor): (B, 3, S, S), uint8: leaf, object and group of each pixel of the window; 0 where unlabelled.
        numbers (Tensor): (B, P, 3), uint8, those at the points.
        weights (Tensor): (B, P, 3), float32: 1 for a target to learn, 0 for a repeated or empty one.
        cells (Tensor): (B, K), int64: cells of the whole embedding, row by row, whose pairs are compared.
        leaves (Tensor): (B, K), int64, what lies at their centres; 0 where unlabelled or padded.
        objects (Tensor): (B, K), int64, likewise.
    """

    pixels: Tensor
    corner: Tensor
    inside: Tensor
    points: Tensor
    chosen: Tensor
    boxes: Tensor
    boxed: Tensor
    maps: Tensor
    numbers: Tensor
    weights: Tensor
    cells: Tensor
    leaves: Tensor
    objects: Tensor

    @property
    def targets(self) -> Tensor:
        """(B, P, 3, S / 2, S / 2), float32: how much of each output pixel leaf, object and group of the point cover."""
        inside = (self.maps[:, None] == self.numbers[..., None, None]) & (self.numbers > 0)[..., None, None]
        return F.avg_pool2d(inside.float().flatten(0, 1), MASK_STRIDE).unflatten(0, inside.shape[:2])

    def to(self, device) -> 'Clicks':
        """The same on another device."""
        return Clicks(**{key: value.to(device) for key, value in vars(self).items()})


class ScenePool(torch.utils.data.Dataset):
    """Endless batches; item ``step`` depends on ``seed`` and ``step`` alone, so a resumed run goes on alike.

    Args:
        kinds (list[list[Shard]]): From :func:`make_pool`; each kind gives the same share of the samples.
        seed (int): Seed of windows and clicks.
        batch (int): Images a batch.
        prompts (int): Prompts an image.
        windows (float): Share of batches whose prompts look at windows of half the side, and are twice as many: most
            of what the decoder has to learn, at half the cost. Defaults to 0.6.
    """

    def __init__(self, kinds, seed: int, batch: int, prompts: int, windows: float = 0.6):
        self.kinds = [self._load(shards) for shards in kinds]
        self.seed, self.batch, self.prompts, self.windows = seed, batch, prompts, windows

    @staticmethod
    def _load(shards):
        files = [np.load(shard.path) for shard in shards]
        return {field.name: np.concatenate([file[field.name] for file in files]) for field in fields(View)}

    def __len__(self):
        return 2**31

    def __getitem__(self, step: int) -> Clicks:
        torch.set_num_threads(1)
        rng = np.random.default_rng((self.seed, 1, step))
        side = self.kinds[0]['leaves'].shape[-1]
        small = rng.random() < self.windows
        window, prompts = (side // 2, 2 * self.prompts) if small else (side, self.prompts)
        samples = [self._sample(rng, kind, window, prompts) for kind in rng.integers(len(self.kinds), size=self.batch)]
        return Clicks(**{key: torch.stack([torch.as_tensor(s[key]) for s in samples]) for key in samples[0]})

    def _sample(self, rng, kind, side, count) -> dict:
        arrays = self.kinds[kind]
        index = rng.integers(len(arrays['valid']))
        image, leaves, valid = _varied(rng, *(arrays[key][index] for key in ('image', 'leaves', 'valid')))
        objects, groups = arrays['objects'][index], arrays['groups'][index]
        maps = np.stack([leaves, objects[leaves], groups[leaves]])
        corner = np.array([rng.integers(max(0, n - side) // EMBEDDING_STRIDE + 1) for n in valid])
        top, left = corner * EMBEDDING_STRIDE
        cells, grouped = _cells(rng, maps[:2], valid)
        seen = maps[:, top : top + side, left : left + side]
        shape = np.minimum(valid - (top, left), side)
        prompts = _prompts(rng, seen, shape, count)
        offset = np.float32([left, top])
        prompts['points'] += offset
        prompts['boxes'] += np.tile(offset, 2)
        rows, columns = (np.arange(side) < n for n in shape)
        return dict(
            pixels=image,
            corner=corner,
            inside=rows[:, None] & columns,
            boxed=rng.random() < 0.125,
            cells=cells,
            leaves=grouped[0],
            objects=grouped[1],
            **prompts,
        )


def _varied(rng, image, leaves, valid) -> tuple:
    """A scene anew: half of them mirrored, each channel with a gain, an offset and a gamma of its own.

    Returns:
        tuple: (3, S, S), uint8, with :data:`GREY` padding; (S, S), uint8; ``valid`` as it came.
    """
    shown = np.s_[: valid[0], : valid[1]]
    step = -1 if rng.random() < 0.5 else 1
    levels = np.linspace(0, 1, 256) ** np.exp(rng.normal(0, 0.2))
    levels = levels[:, None] * np.exp(rng.normal(0, 0.1, 3) + rng.normal(0, 0.15)) + rng.normal(0, 0.03)
    levels = np.clip(255 * levels, 0, 255).astype(np.uint8)
    pixels, labels = np.full((3, *leaves.shape), GREY, np.uint8), np.zeros_like(leaves)
    labels[shown] = leaves[shown][:, ::step]
    for channel, table in enumerate(levels.T):
        pixels[channel][shown] = table[image[..., channel][shown][:, ::step]]
    return pixels, labels, valid


def _cells(rng, maps, valid):
    """Cells of the embedding, drawn among those that show the image, and the labels at their centres."""
    stride = EMBEDDING_STRIDE
    centres = maps[:, stride // 2 :: stride, stride // 2 :: stride]
    rows, columns = (max(1, int(n) // stride) for n in valid)
    drawn = rng.integers((rows, columns), size=(GROUPED_CELLS, 2))
    return drawn @ [centres.shape[2], 1], centres[:, drawn[:, 0], drawn[:, 1]].astype(np.int64)


def _prompts(rng, maps, shape, count) -> dict:
    """Clicks and boxes on (3, S, S) label maps, and what they ask for; coordinates within the maps."""
    points = _click(rng, maps[rng.integers(2)], shape, count)
    numbers = maps[:, points[:, 1], points[:, 0]].T  # (P, 3)
    counts = np.stack([np.bincount(labels.ravel(), minlength=256) for labels in maps])
    areas = counts[np.arange(3), numbers] * (numbers > 0)
    weights = (areas >= SMALLEST_TARGET).astype(np.float32)
    weights[:, 1] *= areas[:, 1] != areas[:, 0]
    weights[:, 2] *= areas[:, 2] != areas[:, 1]
    chosen = np.int64([rng.choice(3, p=w / w.sum()) if w.any() else 0 for w in weights])
    return dict(
        points=points.astype(np.float32),
        chosen=chosen,
        boxes=np.stack([_box(rng, (maps[i] == n[i]) & (n[i] > 0)) for n, i in zip(numbers, chosen)]),
        maps=np.ascontiguousarray(maps),
        numbers=numbers,
        weights=weights,
    )


def _click(rng, labels, shape, count):
    """Half the points anywhere, half at the centres of the largest circles in regions: (P, 2), x, y."""
    height, width = shape
    anywhere = np.stack([rng.integers(width, size=count), rng.integers(height, size=count)], 1)
    areas = np.bincount(labels.ravel(), minlength=256).astype(np.float64)
    areas[0] = 0
    areas[areas < 2 * SMALLEST_TARGET] = 0
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

"""Measures what stored masks cost: loader time, disk, and memory and rate as the cache grows.

Prints one JSON object a line (a table without ``--json``). Without --images, photographs that come with scikit-image
serve, at 481 x 321 pixels.
"""

import argparse
import os
import random
import resource
import sys
import tempfile
import time
from collections.abc import Sequence
from multiprocessing.reduction import ForkingPickler
from pathlib import Path

# A script in a checkout runs the checkout, whatever is installed.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import mmsampriors  # noqa: F401  (before mmagic, which it mends)

# isort: split
import cv2  # noqa: E402
import numpy as np  # noqa: E402
import torch  # noqa: E402
from mask_engine import get_images  # noqa: E402
from mmengine.dataset import BaseDataset, Compose  # noqa: E402
from mmengine.registry import init_default_scope  # noqa: E402
from report import Report, ratio  # noqa: E402
from skimage.segmentation import felzenszwalb  # noqa: E402

import mmsampriors.datasets.transforms  # noqa: E402, F401
from mmsampriors.datasets.mask_pipeline import with_spd_masks  # noqa: E402
from mmsampriors.datasets.stored_masks import ImagePaths  # noqa: E402
from mmsampriors.masks import (  # noqa: E402
    ImageFile,
    ImageMasks,
    MaskCache,
    RunMasks,
    fill_cache,
    manifest_misfit,
    write_manifest,
)
from mmsampriors.masks.store.cache import encode  # noqa: E402
from mmsampriors.masks.store.manifest import FOLDERS  # noqa: E402

MOST_MASKS = 64
SETTINGS = dict(source='gt', segmenter=dict(type='benchmark'))
PIPELINE = [
    dict(type='LoadImageFromFile', key='img'),
    dict(type='LoadImageFromFile', key='gt'),
    dict(type='SetValues', dictionary=dict(scale=1)),
    dict(type='Flip', keys=['img', 'gt'], flip_ratio=0.5, direction='horizontal'),
    dict(type='Flip', keys=['img', 'gt'], flip_ratio=0.5, direction='vertical'),
    dict(type='RandomTransposeHW', keys=['img', 'gt'], transpose_ratio=0.5),
    dict(type='PairedRandomCrop', gt_patch_size=256),
    dict(type='PackInputs'),
]


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--images', help='folder of photographs of 481 x 321 pixels, upright or not')
    parser.add_argument('--count', type=int, default=16, help='images')
    parser.add_argument('--rounds', type=int, default=15, help='times that all images are loaded')
    parser.add_argument('--entries', type=int, nargs='*', default=[], help='sizes of the cache, e.g. 1000 10000 100000')
    parser.add_argument('--starts', type=int, help='instead: the start of a training with so many made-up entries')
    parser.add_argument('--json', action='store_true')
    return parser.parse_args()


def photographs(folder: str, count: int) -> list:
    """(H, W, 3), uint8, BGR."""
    if folder:
        return [cv2.imread(str(path)) for path in sorted(Path(folder).iterdir())[:count]]
    return [np.ascontiguousarray(image.permute(1, 2, 0).numpy()[..., ::-1]) for image in get_images(count, [321, 481])]


def masks_of(image: np.ndarray) -> ImageMasks:
    """At most 64 overlapping masks: segments of three scales, the largest first, grown a little as SAM's overlap."""
    rng, masks = np.random.default_rng(0), []
    for scale in (50, 100, 300):
        labels = felzenszwalb(image, scale=scale, sigma=0.8, min_size=2 * scale)
        masks += [labels == label for label in range(labels.max() + 1)]
    masks = sorted(masks, key=np.sum, reverse=True)[:MOST_MASKS]
    grown = [cv2.dilate(mask.astype(np.uint8), np.ones((rng.integers(1, 4),) * 2)) for mask in masks]
    return ImageMasks.from_masks(torch.from_numpy(np.stack(grown)).bool())


def loader(report: Report, images: list, rounds: int, root: Path, suffix: str):
    """The pipeline's time a sample with and without masks, in turns, what is sent to the main process included."""
    cache, samples, bytes_, counts = MaskCache(root / 'cache', SETTINGS, data_root=root), [], [], []
    for index, image in enumerate(images):
        sample = {f'{key}_path': str(root / f'{key}{index}{suffix}') for key in ('img', 'gt')}
        noise = np.random.default_rng(index).normal(0, 25, image.shape)
        cv2.imwrite(sample['gt_path'], image)
        cv2.imwrite(sample['img_path'], np.clip(image + noise, 0, 255).astype(np.uint8))
        masks = masks_of(image)
        cache.save(ImageFile(sample['gt_path']), masks)
        samples.append(sample)
        counts.append(len(masks))
        bytes_.append(os.path.getsize(cache.entry_path(sample['gt_path'])))
    report(f'masks an image ({suffix})', counts, 'masks')
    report(f'disk an image ({suffix})', [size / 1000 for size in bytes_], 'kB')
    store = dict(type='MaskCache', cache_dir=str(root / 'cache'), settings=SETTINGS, data_root=str(root))
    plain, masked = Compose(PIPELINE), Compose(with_spd_masks(PIPELINE, store))
    times = {plain: [], masked: []}
    for turn in range(rounds):
        for compose in (plain, masked) if turn % 2 else (masked, plain):
            np.random.seed(turn)
            times[compose].append(sum(load(compose, sample) for sample in samples) / len(samples))
    report(f'loader without masks ({suffix})', times[plain], 'CPU ms a sample')
    report(f'loader with masks ({suffix})', times[masked], 'CPU ms a sample', ratio=ratio(times[masked], times[plain]))
    added = [with_masks - without for with_masks, without in zip(times[masked], times[plain])]
    report(f'added by masks ({suffix})', added, 'CPU ms a sample')


def load(compose: Compose, sample: dict) -> float:
    """CPU milliseconds (what else runs on the machine does not count) for one sample.

    Masks are pickled as for a worker's queue, images are not: they go through shared memory.
    """
    begin = time.process_time()
    packed = compose(dict(sample))
    ForkingPickler.dumps(packed['data_samples'].get('masks'))
    return 1000 * (time.process_time() - begin)


class Links(Sequence):
    """Any number of image files that need no room: links to a few. Made when they are first asked for."""

    ORIGINALS = 64  # a file has at most 65,000 names

    def __init__(self, root: Path, count: int):
        self.root, self.count = root, count
        for index in range(self.ORIGINALS):
            pixels = np.random.default_rng(index).integers(0, 255, (16, 16, 3), np.uint8)
            cv2.imwrite(str(root / f'{index}.png'), pixels)

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        if index >= self.count:
            raise IndexError(index)
        path = self.name(index)
        if not os.path.exists(path):
            os.makedirs(os.path.dirname(path), exist_ok=True)
            os.link(self.root / f'{index % self.ORIGINALS}.png', path)
        return path

    def name(self, index: int) -> str:
        """The file, made or not."""
        return f'{self.root}/{index // 1000}/{index}.png'


def growth(report: Report, sizes: list, root: Path):
    """Rate of filling, checking and loading, and peak resident memory, at each size of the cache."""
    cache, before = MaskCache(root / 'cache', SETTINGS, data_root=root), 0
    masks = RunMasks.from_masks(torch.rand(8, 16, 16) < 0.5)
    for size in sorted(sizes):
        paths = Links(root, size)
        begin = time.process_time()
        filled = fill_cache(cache, paths, lambda images: [masks] * len(images))
        seconds = time.process_time() - begin
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000
        report(f'filling {before} to {size} entries', [filled.computed / seconds], 'entries a CPU second')
        report(f'peak resident memory at {size} entries', [memory], 'MB')
        order = random.Random(0).sample(range(size), 500)
        rates = {cache.check: [], cache.load: []}
        for read, values in rates.items():
            for start in range(0, 500, 100):
                begin = time.process_time()
                for index in order[start : start + 100]:
                    read(paths[index])
                values.append(100 / (time.process_time() - begin))
        report(f'checking at {size} entries', rates[cache.check], 'entries a CPU second')
        report(f'loading at {size} entries', rates[cache.load], 'entries a CPU second')
        before = size


def starts(report: Report, size: int, root: Path):
    """How long a training looks at a full cache when it starts: by the manifest, and where it reads every entry."""
    cache, paths = MaskCache(root / 'cache', SETTINGS, data_root=root), Links(root, size)
    masks, prints = RunMasks.from_masks(torch.rand(8, 16, 16) < 0.5), {}
    for name in FOLDERS:
        os.makedirs(root / 'cache' / name)
    for index, path in enumerate(paths):
        original = index % Links.ORIGINALS
        prints[original] = prints.get(original) or ImageFile(path).fingerprint
        provenance = dict(image=cache.key(path), settings=cache.settings, **prints[original])
        Path(cache.entry_path(path)).write_bytes(encode(masks, cache.digest, provenance))
    listed = ImagePaths(Listed(map(paths.name, range(size))), 'gt_path')
    write_manifest(cache, listed)
    wall, cpu = [], []
    for _ in range(3):
        begin = time.perf_counter(), time.process_time()
        misfit = manifest_misfit(cache, listed)
        wall.append(time.perf_counter() - begin[0])
        cpu.append(time.process_time() - begin[1])
        if misfit:
            raise RuntimeError(f'the manifest that was written a moment ago does not fit: {misfit}')
    load = round(os.getloadavg()[0], 1)
    report(f'start by manifest at {size} entries', cpu, 'CPU s')
    report(f'start by manifest at {size} entries', wall, 's', load_average=load)
    begin = time.process_time()
    fill_cache(cache, listed, None)
    report(f'start that reads all {size} entries', [time.process_time() - begin], 'CPU s')


class Listed(BaseDataset):
    """A data set of mmengine that only names images."""

    def __init__(self, names):
        self.names = names
        super().__init__()

    def load_data_list(self) -> list:
        return [dict(gt_path=name) for name in self.names]


def main():
    args = parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    init_default_scope('mmagic')
    report = Report(args.json, 'cpu')
    if args.starts:
        with tempfile.TemporaryDirectory() as folder:
            starts(report, args.starts, Path(folder))
        return
    if args.entries:  # first: what else was done would count as memory
        with tempfile.TemporaryDirectory() as folder:
            growth(report, args.entries, Path(folder))
    images = photographs(args.images, args.count)
    for suffix in ('.png', '.jpg'):
        with tempfile.TemporaryDirectory() as folder:
            loader(report, images, args.rounds, Path(folder), suffix)


if __name__ == '__main__':
    main()

"""Measures what stored masks cost: loader time, disk, and memory and rate as the cache grows.

Prints one JSON object a line. Without --images, 481 x 321 noise in the spectrum of photographs stands for these.
"""

import argparse
import json
import multiprocessing
import os
import pickle
import platform
import random
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from functools import lru_cache
from multiprocessing.reduction import ForkingPickler
from pathlib import Path

# A script in a checkout runs the checkout, whatever is installed.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import mmsampriors  # noqa: F401  (before mmagic, which it mends)

# isort: split
import cv2  # noqa: E402
import numpy as np  # noqa: E402
import torch  # noqa: E402
from mmengine.dataset import BaseDataset, Compose  # noqa: E402
from mmengine.registry import init_default_scope  # noqa: E402
from skimage.segmentation import felzenszwalb  # noqa: E402
from torch.utils.data import DataLoader  # noqa: E402

import mmsampriors.datasets.transforms  # noqa: E402, F401
from mmsampriors.datasets.mask_pipeline import with_spd_masks  # noqa: E402
from mmsampriors.datasets.stored_masks import ImagePaths  # noqa: E402
from mmsampriors.masks import (  # noqa: E402
    TINY_AUTOMATIC,
    ImageFile,
    ImageMasks,
    MaskCache,
    MaskEngine,
    RunMasks,
    build_sam,
    fill_cache,
    manifest_misfit,
    write_manifest,
)
from mmsampriors.masks.run_lengths import send_runs  # noqa: E402
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
    parser.add_argument(
        '--workers', action='store_true', help='instead: the rate at which two processes fill a cache, over that of one'
    )
    parser.add_argument('--json', action='store_true', help='accepted for uniformity; the output always is JSON')
    return parser.parse_args()


def report(name: str, values: list, unit: str, **more):
    """Prints one figure."""
    hardware = f'{platform.machine()}, {os.cpu_count()} cores'
    print(
        json.dumps(
            dict(
                name=name,
                median=round(statistics.median(values), 4),
                min=round(min(values), 4),
                max=round(max(values), 4),
                unit=unit,
                hardware=hardware,
                **more,
            )
        ),
        flush=True,
    )


def photographs(folder: str, count: int) -> list:
    """(H, W, 3) uint8 images."""
    if folder:
        return [cv2.imread(str(path)) for path in sorted(Path(folder).iterdir())[:count]]
    rng = np.random.default_rng(0)
    frequencies = np.hypot(*np.meshgrid(np.fft.fftfreq(481), np.fft.fftfreq(321), indexing='xy'))
    frequencies[0, 0] = 1
    images = []
    for _ in range(count):
        noise = np.fft.ifft2(np.fft.fft2(rng.normal(size=(3, 321, 481))) / frequencies).real.transpose(1, 2, 0)
        images.append(np.clip(128 + 50 * noise / noise.std(), 0, 255).astype(np.uint8))
    return images


def masks_of(image: np.ndarray) -> ImageMasks:
    """At most 64 overlapping masks: segments of three scales, the largest first, grown a little as SAM's overlap."""
    rng, masks = np.random.default_rng(0), []
    for scale in (50, 100, 300):
        labels = felzenszwalb(image, scale=scale, sigma=0.8, min_size=2 * scale)
        masks += [labels == label for label in range(labels.max() + 1)]
    masks = sorted(masks, key=np.sum, reverse=True)[:MOST_MASKS]
    grown = [cv2.dilate(mask.astype(np.uint8), np.ones((rng.integers(1, 4),) * 2)) for mask in masks]
    return ImageMasks.from_masks(torch.from_numpy(np.stack(grown)).bool())


def loader(images: list, rounds: int, root: Path, suffix: str):
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
    report(
        f'loader with masks ({suffix})',
        times[masked],
        'CPU ms a sample',
        ratio=round(statistics.median(times[masked]) / statistics.median(times[plain]), 4),
    )
    added = [with_masks - without for with_masks, without in zip(times[masked], times[plain])]
    report(f'added by masks ({suffix})', added, 'CPU ms a sample')
    paths = [sample['gt_path'] for sample in samples]
    drawing(cache, paths, rounds, suffix)
    sending([cache.load(path).crop(0, 0, 256, 256).cut() for path in paths], rounds, suffix)


def drawing(cache: MaskCache, paths: list, rounds: int, suffix: str):
    """CPU time of the training process to draw the masks of a patch of 256, cut by a worker or left to it."""
    times = dict(cut=[], uncut=[])
    for _ in range(rounds):
        took = dict.fromkeys(times, 0.0)
        for path in paths:
            patch = cache.load(path).crop(0, 0, 256, 256)
            for kind, masks in dict(cut=patch.cut(), uncut=patch).items():
                arrived = pickle.loads(pickle.dumps(masks, pickle.HIGHEST_PROTOCOL))
                begin = time.process_time()
                send_runs([arrived], torch.device('cpu')).draw(256, 256)
                took[kind] += 1000 * (time.process_time() - begin) / len(paths)
        for kind in times:
            times[kind].append(took[kind])
    report(f'drawing in the training process ({suffix})', times['cut'], 'CPU ms a sample')
    report(f'drawing where no worker cut ({suffix})', times['uncut'], 'CPU ms a sample')


def sending(patches: list, rounds: int, suffix: str):
    """What it costs to send masks from a worker: the size of the message, and CPU time of both processes."""
    report(f'message of masks ({suffix})', [len(ForkingPickler.dumps(patch)) / 1000 for patch in patches], 'kB')
    receiving, making = [], []
    for _ in range(rounds):
        before, begin = resource.getrusage(resource.RUSAGE_CHILDREN), time.process_time()
        batches = DataLoader(patches * 50, batch_size=4, num_workers=1, collate_fn=list)
        for batch in batches:
            sum(map(len, batch))
        receiving.append(1000 * (time.process_time() - begin) / len(patches) / 50)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        making.append(1000 * used / len(patches) / 50)
    report(f'receiving in the training process ({suffix})', receiving, 'CPU ms a sample')
    report(f'sending in a worker ({suffix})', making, 'CPU ms a sample')


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


def growth(sizes: list, root: Path):
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


def starts(size: int, root: Path):
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


@lru_cache(maxsize=None)
def engine() -> MaskEngine:
    """The small SAM of the package. Like every SAM it takes far longer than reading and encoding, which overlap it."""
    return MaskEngine(build_sam('tiny'), **TINY_AUTOMATIC)


def work(root: str, paths: list, worker: tuple, barrier, times) -> None:
    """One process of :func:`workers`."""
    torch.set_num_threads(1)
    cache = MaskCache(Path(root) / f'cache{worker[1]}', SETTINGS, data_root=root)
    engine()
    barrier.wait()
    begin, used = time.perf_counter(), time.process_time()
    fill_cache(cache, paths, engine().generate, worker=worker)
    times.put((time.perf_counter() - begin, time.process_time() - used))


def workers(images: list, rounds: int) -> None:
    """Images a second that one process and two processes fill, in turns; two count as done with the slower one."""
    context, rates, cores = multiprocessing.get_context('spawn'), {1: [], 2: []}, {1: [], 2: []}
    for _ in range(rounds):
        for count in rates:
            with tempfile.TemporaryDirectory() as root:
                paths = [os.path.join(root, f'{index}.png') for index in range(len(images))]
                for path, image in zip(paths, images):
                    cv2.imwrite(path, image)
                barrier, times = context.Barrier(count), context.Queue()
                processes = [
                    context.Process(target=work, args=(root, paths, (rank, count), barrier, times))
                    for rank in range(count)
                ]
                for process in processes:
                    process.start()
                seconds, used = zip(*(times.get() for _ in processes))
                rates[count].append(len(images) / max(seconds))
                cores[count].append(sum(used) / max(seconds))
                for process in processes:
                    process.join()
    for count, values in rates.items():
        ratio = round(statistics.median(values) / statistics.median(rates[1]), 3)
        load, busy = round(os.getloadavg()[0], 1), round(statistics.median(cores[count]), 2)
        report(f'filling with {count} processes', values, 'images/s', ratio=ratio, cores_used=busy, load_average=load)


def main():
    args = parse_args()
    if args.workers:
        workers(photographs(args.images, args.count), args.rounds)
        return
    if args.starts:
        with tempfile.TemporaryDirectory() as folder:
            starts(args.starts, Path(folder))
        return
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    init_default_scope('mmagic')
    if args.entries:  # first: what else was done would count as memory
        with tempfile.TemporaryDirectory() as folder:
            growth(args.entries, Path(folder))
    images = photographs(args.images, args.count)
    for suffix in ('.png', '.jpg'):
        with tempfile.TemporaryDirectory() as folder:
            loader(images, args.rounds, Path(folder), suffix)


if __name__ == '__main__':
    main()

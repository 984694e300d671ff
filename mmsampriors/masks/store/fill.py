"""Filling a cache of masks: the one loop behind ``tools/cache_masks.py`` and MaskCacheHook.

Files are read and decoded ahead, and masks encoded and written behind, by threads, while the segmenter works.
"""

import io
import os
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import chain
from typing import Callable, Iterable, Iterator, NamedTuple, Optional, Sequence

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor
from tqdm import tqdm

from .batch_size import BatchSize
from .cache import ImageFile, MaskCache
from .progress import SharedProgress

#: Threads that read images, and threads that write masks. PIL, zlib and numpy let others run meanwhile.
READERS, WRITERS = 2, 2


class Filled(NamedTuple):
    """How many images of the share had their masks, and how many got them now, those of other workers included."""

    ready: int
    computed: int


def fill_cache(
    cache: MaskCache,
    image_paths: Sequence,
    segment: Callable,
    restore: Callable = None,
    *,
    shard: tuple = (0, 1),
    worker: tuple = (0, 1),
    batch_size: Optional[int] = 1,
    device='cpu',
) -> Filled:
    """Computes the masks that are missing or corrupt, and keeps what is there.

    May be killed at any moment and run again; any number of processes may fill one cache, of the same shard or of
    different ones. All entries are checked before the first mask is computed.

    Workers divide a shard. One that is through with its share goes on with what is left of the others', from their
    ends, so a slow one does less, and what a killed one left is done by the others. None waits for another.

    Args:
        cache (MaskCache): What to fill.
        image_paths (Sequence): Image files; repeated ones are computed once. Read one at a time and not copied, so that
            memory does not grow with their number.
        segment (Callable): Maps images (N, 3, H, W), RGB in [0, 1], to a list of N ImageMasks.
        restore (Callable, optional): Maps such images to restored ones, which are segmented in their place.
        shard (tuple): ``(i, n)``: every n-th image, from the i-th (from 0) on.
        worker (tuple): ``(r, w)``: the r-th (from 0) of w processes that fill this shard together. The first shows the
            progress of all.
        batch_size (int, optional): Images handed to ``segment`` at once, where as many of one size follow each other.
            None lets the free memory of the device choose.
        device (torch.device): Where images are handed over.

    Raises:
        MaskStoreError: An entry was made with other settings or from another image, or cannot be written.
    """
    cache.sweep()
    own, others = _shares(len(image_paths), shard, worker)
    shown = worker[0] == 0
    checked = tqdm(own, 'checking masks', unit='image', leave=False, disable=not shown)
    todo = np.fromiter((index for index in checked if not cache.check(image_paths[index])), np.int64)
    if len(todo):
        cache.check_writable()

    def is_there(index: int) -> bool:  # whole or not: cheaper than checking it
        return os.path.exists(cache.entry_path(image_paths[int(index)]))

    absent = [np.fromiter((i for i in share if not is_there(i)), np.int64) for share in others if shown]
    wanted = chain(
        ((image_paths[int(index)], True) for index in todo),
        ((image_paths[index], False) for share in others for index in reversed(share)),
    )
    with SharedProgress(len(todo), absent, is_there, shown) as progress:
        computed = _compute(cache, wanted, segment, restore, BatchSize(batch_size, device), device, progress)
    return Filled(len(own) - computed[True], sum(computed.values()))


def _shares(count: int, shard: tuple, worker: tuple) -> tuple:
    """Indices of ``count`` images: those of this worker, and a list of those of the others, the next one's first."""
    ranks = [*range(worker[0], worker[1]), *range(worker[0])]
    own, *others = (range(shard[0] + rank * shard[1], count, shard[1] * worker[1]) for rank in ranks)
    return own, others


def _compute(cache, wanted: Iterable, segment, restore, size: BatchSize, device, progress: SharedProgress) -> dict:
    """Computes and saves the masks of ``wanted`` (path, whether of the own share) that are missing.

    Returns:
        dict: How many were computed of the own share (True), and how many of others' (False).
    """
    in_work, computed, written = {}, {True: 0, False: 0}, deque()

    def finish(path, saving: Future) -> None:
        saving.result()
        computed[in_work.pop(path)] += 1
        progress.update(1)

    with ThreadPoolExecutor(READERS) as readers, ThreadPoolExecutor(WRITERS) as writers:
        try:
            read = _ahead(readers, lambda path: _read(cache, path), _new(wanted, in_work, progress), size)
            for files, images in _batches(read, size, in_work, progress):
                with size.measured(len(files)):
                    found = _found(files, images.to(device), segment, restore)
                for file, masks in zip(files, found, strict=True):
                    written.append((file.path, writers.submit(cache.save, file, masks)))
                while len(written) > size.count:  # bounds the memory of what waits to be written
                    finish(*written.popleft())
            while written:
                finish(*written.popleft())
        finally:  # what is computed is saved, also where something else failed
            readers.shutdown(wait=True, cancel_futures=True)
    return computed


def read_image(file: ImageFile) -> Tensor:
    """(3, H, W), RGB in [0, 1], turned as the file's EXIF orientation says.

    Raises:
        ValueError: It cannot be decoded.
    """
    try:
        with Image.open(io.BytesIO(file.data)) as image:
            pixels = np.array(ImageOps.exif_transpose(image).convert('RGB'))
    except (OSError, SyntaxError, ValueError) as error:
        raise ValueError(
            f'{file.path} cannot be read as an image ({error}); replace it, or take it out of the data set'
        ) from None
    return torch.from_numpy(pixels).permute(2, 0, 1).float() / 255


def _read(cache: MaskCache, path) -> tuple:
    """The path, and its file and image; None for these where another process was faster."""
    if cache.check(path):
        return path, None, None
    file = ImageFile(path)
    return path, file, read_image(file)


def _new(wanted: Iterable, in_work: dict, progress: SharedProgress) -> Iterator:
    """The paths that are not in work yet, and notes that they are."""
    for path, own in wanted:
        if path in in_work:
            progress.forget(own)
        else:
            in_work[path] = own
            yield path


def _ahead(pool: ThreadPoolExecutor, work: Callable, items: Iterable, size: BatchSize) -> Iterator:
    """``map(work, items)``, with the results of the next batch and a few more being computed ahead."""
    waiting, items = deque(), iter(items)
    while True:
        while len(waiting) < size.count + READERS:
            item = next(items, waiting)
            if item is waiting:
                break
            waiting.append(pool.submit(work, item))
        if not waiting:
            return
        yield waiting.popleft().result()


def _batches(read: Iterable, size: BatchSize, in_work: dict, progress: SharedProgress) -> Iterator[tuple]:
    """Yields lists of files and their images (N, 3, H, W), one size each."""
    batch = []
    for path, file, image in read:
        if file is None:
            progress.forget(in_work.pop(path))
            continue
        if batch and image.shape != batch[0][1].shape:
            yield _stacked(batch)
            batch = []
        batch.append((file, image))
        if len(batch) >= size.count:
            yield _stacked(batch)
            batch = []
    if batch:
        yield _stacked(batch)


def _stacked(batch: list) -> tuple:
    files, images = zip(*batch)
    return files, torch.stack(images)


@torch.no_grad()
def _found(files: Sequence, images: Tensor, segment: Callable, restore: Callable) -> list:
    """The masks of a batch, one ImageMasks an image."""
    images = images if restore is None else restore(images)
    found = segment(images)
    for file, masks in zip(files, found, strict=True):
        if masks.size != images.shape[-2:]:
            raise ValueError(
                f'the segmenter gave masks of {masks.size} for {file.path}, which has {tuple(images.shape[-2:])} pixels'
            )
    return found

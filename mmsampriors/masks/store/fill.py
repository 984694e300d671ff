"""Filling a cache of masks: the one loop behind ``tools/cache_masks.py`` and MaskCacheHook.

Files are read and decoded ahead, and masks encoded and written behind, by threads, while the segmenter works.
"""

import io
import os
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from itertools import chain
from typing import Callable, Iterable, Iterator, NamedTuple, Optional, Sequence

import numpy as np
import torch
from torch import Tensor

from mmsampriors.images import PhotographError, read_rgb, to_eight_bits
from mmsampriors.progress import progress_bar

from .cache import ImageFile, MaskCache

MOST = 16
#: Of the free memory; the rest is for what varies from image to image.
SHARE = 0.5


class BatchSize:
    """Images in a batch.

    Without a fixed count the first batch is one image, whose memory is measured, and the next are as many as fit. On
    the CPU more than one at a time gains nothing, so it stays one.

    Args:
        fixed (int, optional): The count.
        device (torch.device): Where images are segmented.

    Raises:
        ValueError: The count is below 1.
    """

    def __init__(self, fixed: Optional[int], device):
        if fixed is not None and fixed < 1:
            raise ValueError(f'a batch of images that are segmented has at least 1, found batch_size={fixed}')
        self.count, self.device = fixed or 1, torch.device(device)
        self._open = fixed is None and self.device.type == 'cuda'

    @contextmanager
    def measured(self, images: int) -> Iterator[None]:
        """Around the work on a batch of ``images``."""
        if not self._open:
            yield
            return
        before = torch.cuda.memory_allocated(self.device)
        torch.cuda.reset_peak_memory_stats(self.device)
        yield
        peak = torch.cuda.max_memory_allocated(self.device) - before
        free = torch.cuda.mem_get_info(self.device)[0]
        free += torch.cuda.memory_reserved(self.device) - torch.cuda.memory_allocated(self.device)
        self.count, self._open = fitting(peak / images, free), False


def fitting(bytes_each: float, free: int) -> int:
    """How many images of ``bytes_each`` take at most half of the ``free`` bytes: from 1 to :data:`MOST`."""
    return max(1, min(MOST, int(SHARE * free / max(bytes_each, 1))))


class SharedProgress:
    """A progress bar over the images of this process and of others, whose entries are looked for.

    Args:
        own (int): Images that this process has to compute.
        others (Sequence[ndarray]): For each other worker the indices of its images, in the order in which it works.
        is_there (Callable): Whether the masks of an image, by its index, are there.
        shown (bool): Whether anything is shown.
    """

    def __init__(self, own: int, others: Sequence[list], is_there: Callable, shown: bool):
        self.others, self.places, self.is_there = others, [0] * len(others), is_there
        self.total, self.done = own + sum(map(len, others)), 0
        self.bar = progress_bar(
            total=self.total, desc='computing masks', unit='image', disable=not (shown and self.total)
        )

    def __enter__(self) -> 'SharedProgress':
        return self

    def __exit__(self, *error) -> None:
        self._show()
        self.bar.close()

    def update(self, images: int) -> None:
        """This process has computed ``images`` more."""
        self.done += images
        self._show()

    def forget(self, own: bool) -> None:
        """An image turned out to have its masks; one of the own share counts as done."""
        self.update(int(own))

    def _show(self) -> None:
        for number, share in enumerate(self.others):
            while self.places[number] < len(share) and self.is_there(share[self.places[number]]):
                self.places[number] += 1
                self.done += 1
        # What two workers did counts once: there are never more than all.
        self.bar.update(min(self.done, self.total) - self.bar.n)


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
    pass_by: Optional[Callable] = None,
) -> Filled:
    """Computes the masks that are missing or corrupt, and keeps what is there.

    May be killed at any moment and run again; any number of processes may fill one cache, of the same shard or of
    different ones. All entries are checked before the first mask is computed.

    Workers divide a shard. One that is through with its share goes on with what is left of the others', from their
    ends, so a slow one does less, and what a killed one left is done by the others. None waits for another.

    Args:
        cache (MaskCache | MaskFiles): What to fill.
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
        pass_by (Callable, optional): Called with the error of an image of the own share that cannot be read; the work
            goes on with the next one. Defaults to None: the error is raised.

    Raises:
        MaskStoreError: An entry was made with other settings or from another image, or cannot be written.
    """
    cache.sweep()
    own, others = _shares(len(image_paths), shard, worker)
    shown = worker[0] == 0
    checked = progress_bar(own, desc='checking masks', unit='image', leave=False, disable=not shown)
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
        size = BatchSize(batch_size, device)
        computed = _compute(cache, wanted, segment, restore, size, device, progress, pass_by)
    return Filled(len(own) - computed[True], sum(computed.values()))


def _shares(count: int, shard: tuple, worker: tuple) -> tuple:
    """Indices of ``count`` images: those of this worker, and a list of those of the others, the next one's first."""
    ranks = [*range(worker[0], worker[1]), *range(worker[0])]
    own, *others = (range(shard[0] + rank * shard[1], count, shard[1] * worker[1]) for rank in ranks)
    return own, others


def _compute(cache, wanted: Iterable, segment, restore, size: BatchSize, device, progress, pass_by) -> dict:
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
            read = _ahead(readers, lambda path: _read(cache, path, pass_by), _new(wanted, in_work, progress), size)
            for files, images in _batches(read, size, in_work, progress, pass_by):
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
        pixels = to_eight_bits(read_rgb(io.BytesIO(file.data)))
    except PhotographError as error:
        raise ValueError(f'{file.path} {error}: replace it, or take it out of the data set') from None
    return torch.tensor(pixels).permute(2, 0, 1).float() / 255  # copied: what Pillow gives is read-only


def _read(cache, path, pass_by) -> tuple:
    """The path, and its file and image; for these None and None where another process was faster, or None and the
    error where the image cannot be read and may be passed by."""
    if cache.check(path):
        return path, None, None
    try:
        file = ImageFile(path)
        return path, file, read_image(file)
    except (OSError, ValueError) as error:
        if pass_by is None:
            raise
        return path, None, error


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


def _batches(read: Iterable, size: BatchSize, in_work: dict, progress: SharedProgress, pass_by) -> Iterator[tuple]:
    """Yields lists of files and their images (N, 3, H, W), one size each."""
    batch = []
    for path, file, image in read:
        if file is None:
            own = in_work.pop(path)
            progress.forget(own)
            if own and image is not None:
                pass_by(image)
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

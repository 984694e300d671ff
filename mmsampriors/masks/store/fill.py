"""Filling a cache of masks: the one loop behind ``tools/cache_masks.py`` and MaskCacheHook."""

import io
from typing import Callable, NamedTuple, Sequence

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor
from tqdm import tqdm

from .cache import ImageFile, MaskCache


class Filled(NamedTuple):
    """How many images of the shard had their masks, and how many got them now."""

    ready: int
    computed: int


def fill_cache(
    cache: MaskCache,
    image_paths: Sequence,
    segment: Callable,
    restore: Callable = None,
    *,
    shard: tuple = (0, 1),
    batch_size: int = 1,
    device='cpu',
) -> Filled:
    """Computes the masks that are missing or corrupt, and keeps what is there.

    May be killed at any moment and run again; any number of processes may fill one cache, of the same shard or of
    different ones. All entries are checked before the first mask is computed.

    Args:
        cache (MaskCache): What to fill.
        image_paths (Sequence): Image files; repeated ones are computed once. Read one at a time and not copied, so that
            memory does not grow with their number.
        segment (Callable): Maps images (N, 3, H, W), RGB in [0, 1], to a list of N ImageMasks.
        restore (Callable, optional): Maps such images to restored ones, which are segmented in their place.
        shard (tuple): ``(i, n)``: every n-th image, from the i-th (from 0) on.
        batch_size (int): Images handed to ``segment`` at once, where as many of one size follow each other.
        device (torch.device): Where images are handed over.

    Raises:
        MaskStoreError: An entry was made with other settings or from another image.
    """
    cache.sweep()
    share = range(shard[0], len(image_paths), shard[1])
    missing = np.fromiter(
        (not cache.check(image_paths[index]) for index in tqdm(share, 'checking masks', unit='image', leave=False)),
        bool,
        len(share),
    )
    computed, todo = 0, np.flatnonzero(missing)
    if len(todo):
        with tqdm(total=len(todo), desc='computing masks', unit='image') as progress:
            paths = (image_paths[share[position]] for position in todo)
            for files, images in _batches(cache, paths, batch_size, progress):
                _compute(cache, files, images.to(device), segment, restore)
                computed += len(files)
                progress.update(len(files))
    return Filled(len(share) - computed, computed)


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


def _batches(cache, paths, batch_size, progress):
    """Yields lists of files and their images (N, 3, H, W), one size each."""
    batch = []
    for path in paths:
        if cache.check(path):  # another process was faster
            progress.update()
            continue
        file = ImageFile(path)
        image = read_image(file)
        if batch and image.shape != batch[0][1].shape:
            yield _stacked(batch)
            batch = []
        batch.append((file, image))
        if len(batch) == batch_size:
            yield _stacked(batch)
            batch = []
    if batch:
        yield _stacked(batch)


def _stacked(batch: list) -> tuple:
    files, images = zip(*batch)
    return files, torch.stack(images)


def _compute(cache, files, images, segment, restore):
    with torch.no_grad():
        images = images if restore is None else restore(images)
        found = segment(images)
    for file, masks in zip(files, found, strict=True):
        if masks.size != images.shape[-2:]:
            raise ValueError(
                f'the segmenter gave masks of {masks.size} for {file.path}, which has {tuple(images.shape[-2:])} pixels'
            )
        cache.save(file, masks)

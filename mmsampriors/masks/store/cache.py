"""Stores of masks: the cache on disk and folders of label maps."""

import hashlib
import json
import os
import time
from abc import ABC, abstractmethod
from pathlib import Path
from tempfile import TemporaryFile

import numpy as np
from PIL import Image

from mmsampriors.files import PART, sha256_of, write_whole
from mmsampriors.masks.image_masks import ImageMasks
from mmsampriors.masks.run_length_masks import RunMasks

from .codec import CorruptEntry, Entry, encode

SUFFIX = '.masks'
ABANDONED_SECONDS = 3600


class MaskStoreError(RuntimeError):
    """Masks that are not there, not whole, or not those that the settings ask for; the message names the file."""


class MaskStore(ABC):
    """Where the masks of images are found."""

    @abstractmethod
    def load(self, image_path) -> RunMasks:
        """The masks of the whole image.

        Args:
            image_path (str | Path): The image file.

        Raises:
            MaskStoreError: There are none, or not the right ones.
        """


class MaskCache(MaskStore):
    """Masks that were computed once, one file an image. [ours, docs/masks_and_sams.md]

    The file of an image follows from its path below ``data_root`` alone, so no index is kept: memory and time for an
    entry do not grow with their number. Files are written under another name and renamed, and carry a checksum, so any
    number of processes may fill one cache and be killed at any moment.

    An entry records the hash of the image file and the ``settings`` it was made with. The settings are compared (as a
    digest) at every reading. The image file is compared by :meth:`check`, which runs before training: its size and
    modification time, and where these differ its hash.

    Args:
        cache_dir (str | Path): Made where it is absent.
        settings (dict): JSON-able: source, segmenter with checkpoint hash, restorer checkpoint hash.
        data_root (str | Path, optional): What image paths are relative to, so that data and cache can be moved.
            Defaults to None: absolute paths.
    """

    def __init__(self, cache_dir, settings: dict, data_root=None):
        self.cache_dir, self.settings = os.fspath(cache_dir), _plain(settings)
        self._root = os.path.abspath(data_root) if data_root else None
        self.digest = hashlib.sha256(json.dumps(self.settings, sort_keys=True).encode()).digest()[:16]

    def entry_path(self, image_path) -> str:
        """The file that holds the masks of an image."""
        name = hashlib.sha256(self._key(image_path).encode()).hexdigest()
        return os.path.join(self.cache_dir, name[:2], name[2:24] + SUFFIX)

    def load(self, image_path) -> RunMasks:
        path = self.entry_path(image_path)
        try:
            entry = Entry(_read(path))
        except FileNotFoundError:
            raise MaskStoreError(
                f'no masks of {image_path}: {path} is absent; compute them with tools/cache_masks.py CONFIG'
            ) from None
        except CorruptEntry as error:
            raise MaskStoreError(
                f'the masks of {image_path} in {path} are corrupt ({error}); '
                'tools/cache_masks.py CONFIG computes them anew'
            ) from None
        if entry.digest != self.digest:
            raise self._foreign(image_path, path, entry.provenance)
        return RunMasks(entry)

    def check(self, image_path) -> bool:
        """Whether whole masks of the image as it is now are stored; False where they have to be computed.

        Raises:
            MaskStoreError: The entry was made with other settings or from another image.
        """
        path = self.entry_path(image_path)
        try:
            entry = Entry(_read(path))
        except (FileNotFoundError, NotADirectoryError, CorruptEntry):
            return False
        provenance = entry.provenance
        if entry.digest != self.digest:
            raise self._foreign(image_path, path, provenance)
        if provenance['image'] != self._key(image_path):
            raise MaskStoreError(
                f'foreign masks: {path} is the place of {self._key(image_path)}, and holds the masks '
                f'of {provenance["image"]}; delete that file and run again'
            )
        if not _unchanged(image_path, provenance):
            raise MaskStoreError(
                f'stale masks: {image_path} changed after its masks in {path} were computed (its '
                f'sha256 is no longer {provenance["sha256"]}); delete that file and run again'
            )
        return True

    def check_writable(self) -> None:
        """Makes the folder and writes to it.

        Raises:
            MaskStoreError: That cannot be done.
        """
        try:
            os.makedirs(self.cache_dir, exist_ok=True)
            with TemporaryFile(dir=self.cache_dir) as file:
                file.write(b'masks')
        except OSError as error:
            raise MaskStoreError(
                f'masks cannot be written to {self.cache_dir} ({error}): make that folder writable, or name another '
                'cache_dir in the config'
            ) from error

    def save(self, image: 'ImageFile', masks: ImageMasks) -> None:
        """Writes an entry, whole or not at all.

        Args:
            image (ImageFile): The very bytes that the masks were computed from.
            masks (ImageMasks): The masks of the whole image.

        Raises:
            MaskStoreError: It cannot be written: the disk is full, the folder is no folder or not writable.
        """
        provenance = dict(image=self._key(image.path), settings=self.settings, **image.fingerprint)
        path = self.entry_path(image.path)
        try:
            # no fsync: what a power cut leaves behind is recognised by its checksum
            write_whole(path, encode(RunMasks.pack(masks), self.digest, provenance))
        except OSError as error:
            raise MaskStoreError(
                f'the masks of {image.path} cannot be written to {path} ({error}): free space there, or name another '
                'cache_dir in the config, and run again; what has been written is kept'
            ) from error

    def sweep(self) -> None:
        """Deletes temporary files that killed processes left more than an hour ago."""
        for temporary in Path(self.cache_dir).glob(f'??/.*{SUFFIX}.*{PART}'):
            try:
                if time.time() - temporary.stat().st_mtime > ABANDONED_SECONDS:
                    temporary.unlink()
            except FileNotFoundError:
                pass  # another process was faster

    def _key(self, image_path) -> str:
        path = os.path.abspath(image_path)
        if self._root is None:
            return path
        inside = path.startswith(self._root + os.sep)
        return (path[len(self._root) + 1 :] if inside else os.path.relpath(path, self._root)).replace(os.sep, '/')

    def _foreign(self, image_path, path, provenance: dict) -> MaskStoreError:
        differences = '; '.join(_differences(provenance['settings'], self.settings))
        return MaskStoreError(
            f'foreign masks: the entry of {image_path}, {path}, was made with other settings '
            f'({differences}). Name another cache_dir in the config, or restore those settings, or '
            f'delete {self.cache_dir}'
        )


class LabelMaps(MaskStore):
    """A folder of label maps: one mask a label.

    Args:
        folder (str | Path): Holds one 8- or 16-bit image a photograph, of the photograph's size and stem.
        ext (str): Their file name extension. Defaults to '.png'.
    """

    def __init__(self, folder, ext: str = '.png'):
        self.folder, self.ext = Path(folder), ext

    def path_of(self, image_path) -> Path:
        """The label map of an image."""
        return self.folder / f'{Path(image_path).stem}{self.ext}'

    def load(self, image_path) -> RunMasks:
        path = self.path_of(image_path)
        try:
            with Image.open(path) as image:
                labels = np.asarray(image)
        except FileNotFoundError:
            raise MaskStoreError(f'no label map of {image_path}: {path} is absent') from None
        except (OSError, SyntaxError) as error:
            raise MaskStoreError(f'{path} cannot be read as a label map: {error}') from None
        if labels.ndim != 2:
            raise MaskStoreError(f'{path} must be a label map with one channel, found {labels.shape[2]} channels')
        return RunMasks.from_label_map(labels)


class ImageFile:
    """The bytes of an image file, read once, and what identifies them.

    Args:
        path (str | Path): The file.
    """

    def __init__(self, path):
        stat = os.stat(path)  # before reading: a later change shows
        self.path, self.data = path, Path(path).read_bytes()
        sha256 = hashlib.sha256(self.data).hexdigest()
        self.fingerprint = dict(sha256=sha256, bytes=stat.st_size, mtime_ns=stat.st_mtime_ns)


def _read(path) -> bytes:
    """The bytes of a file, in four system calls: training reads one entry a sample."""
    file = os.open(path, os.O_RDONLY | getattr(os, 'O_BINARY', 0))
    try:
        return os.read(file, os.fstat(file).st_size)
    finally:
        os.close(file)


def _plain(settings: dict) -> dict:
    """As JSON gives it back: tuples become lists, so that settings compare equal after a round trip."""
    return json.loads(json.dumps(settings))


def _unchanged(image_path, provenance: dict) -> bool:
    stat = os.stat(image_path)
    if (stat.st_size, stat.st_mtime_ns) == (provenance['bytes'], provenance['mtime_ns']):
        return True
    return sha256_of(image_path) == provenance['sha256']


def _differences(theirs, ours, name: str = '') -> list:
    """What differs between two nested dicts, as 'key: entry has X, config has Y'."""
    if isinstance(theirs, dict) and isinstance(ours, dict):
        return [
            text
            for key in sorted({*theirs, *ours})
            for text in _differences(theirs.get(key), ours.get(key), f'{name}.{key}' if name else str(key))
        ]
    return [] if theirs == ours else [f'{name}: the entry has {theirs!r}, the config {ours!r}']

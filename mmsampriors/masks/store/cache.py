"""Masks of images kept on disk: one file an image, with a checksum and what it was made from. [ours]

Layout of a file, little-endian: ``HEADER``; the runs, deflated; provenance as JSON. The checksum covers all that
follows it.
"""

import hashlib
import json
import os
import struct
import zlib
from abc import ABC, abstractmethod
from pathlib import Path
from tempfile import TemporaryFile

import numpy as np

from mmsampriors.files import PART, remove_abandoned, sha256_of, write_whole

from ..image_masks import ImageMasks
from ..run_length_masks import RunMasks, Runs

# magic, checksum, digest of the settings, H, W, K, cells, bytes a cell's bits, runs, bytes a run's cell, deflated bytes
HEADER = struct.Struct('<4sI16sIIIIIIII')
CHECKED_FROM = 8
MAGIC = b'SPM1'


#: What each entry says of where it comes from.
PROVENANCE = {'image', 'settings', 'sha256', 'bytes', 'mtime_ns'}


class CorruptEntry(RuntimeError):
    """Bytes that are not a whole, unharmed entry."""


class Entry:
    """The bytes of an entry, checked; unpacked when the masks are first read.

    Args:
        data (bytes): What :func:`encode` gave.
        path (str): Where they come from, for errors.

    Raises:
        CorruptEntry: The bytes are not a whole, unharmed entry.
    """

    def __init__(self, data: bytes, path: str = ''):
        if len(data) < HEADER.size or data[:4] != MAGIC:
            raise CorruptEntry(f'{len(data)} bytes that do not start like an entry')
        self.data, self.path = data, path
        _, checksum, self.digest, *self.counts = HEADER.unpack_from(data)
        if zlib.crc32(memoryview(data)[CHECKED_FROM:]) != checksum:
            raise CorruptEntry(f'the checksum of its {len(data)} bytes is wrong')

    @property
    def size(self) -> tuple:
        """(H, W) of the image in pixels."""
        return tuple(self.counts[:2])

    @property
    def provenance(self) -> dict:
        """What the entry was made from.

        Raises:
            CorruptEntry: It does not say that, as an entry of another program may not.
        """
        try:
            provenance = json.loads(self.data[HEADER.size + self.counts[-1] :])
        except ValueError:
            provenance = None
        if not isinstance(provenance, dict) or not PROVENANCE <= provenance.keys():
            raise CorruptEntry('it does not say what it was made from')
        return provenance

    def unpacked(self) -> Runs:
        """The masks of the whole image.

        Raises:
            CorruptEntry: They are not what the header says.
        """
        *_, count, cells, cell_bytes, runs, itemsize, size = self.counts
        shapes = [('<u2', runs), (f'<u{itemsize}', runs), ('u1', cells * cell_bytes), ('<f4', count), ('<f4', count)]
        # With its size known, the result is not made larger again and again.
        unpacked = (2 + itemsize) * runs + cells * cell_bytes + 8 * count
        try:
            body = zlib.decompress(memoryview(self.data)[HEADER.size : HEADER.size + size], bufsize=unpacked or 1)
        except (zlib.error, MemoryError, OverflowError) as error:
            raise CorruptEntry(f'the masks in {self.path} cannot be unpacked ({error}): delete that file') from None
        if len(body) != unpacked:
            raise CorruptEntry(
                f'the masks in {self.path} take {len(body)} bytes, and its header says {unpacked}: delete that file'
            )
        parts, at = [], 0
        for dtype, length in shapes:
            parts.append(np.frombuffer(body, dtype, length, at))
            at += parts[-1].nbytes
        columns, ids, members, scores, stability = parts
        return Runs(self.size, columns, ids, members.reshape(cells, cell_bytes), scores, stability)


def encode(masks: RunMasks, digest: bytes, provenance: dict) -> bytes:
    """An entry.

    Args:
        masks (RunMasks): Of the whole image.
        digest (bytes): 16 bytes that stand for the settings.
        provenance (dict): What the entry was made from, JSON-able.
    """
    runs = masks.stored.unpacked()
    cells = runs.cells.astype(runs.cells.dtype.newbyteorder('<'))
    body = zlib.compress(
        b''.join(
            np.ascontiguousarray(part).tobytes()
            for part in (
                runs.columns.astype('<u2'),
                cells,
                runs.members,
                runs.scores.astype('<f4'),
                runs.stability.astype('<f4'),
            )
        )
    )
    header = HEADER.pack(
        MAGIC, 0, digest, *runs.size, len(runs.scores), *runs.members.shape, len(cells), cells.itemsize, len(body)
    )
    checked = header[CHECKED_FROM:] + body + json.dumps(provenance, sort_keys=True).encode()
    return MAGIC + struct.pack('<I', zlib.crc32(checked)) + checked


SUFFIX = '.masks'


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
    """Masks that were computed once, one file an image. [ours, docs/masks.md]

    The file of an image follows from its path below ``data_root`` alone, so no index is kept: memory and time for an
    entry do not grow with their number. Files are written under another name and renamed, and carry a checksum, so any
    number of processes may fill one cache and be killed at any moment.

    An entry records the hash of the image file and the ``settings`` it was made with. At every reading the settings are
    compared (as a digest), and the image file: its name, its size and modification time, and where these differ its
    hash.

    Args:
        cache_dir (str | Path): Made where it is absent.
        settings (dict): JSON-able: source, segmenter with checkpoint hash, restorer checkpoint hash.
        data_root (str | Path, optional): What image paths are relative to, so that data and cache can be moved.
            Defaults to None: absolute paths.
    """

    def __init__(self, cache_dir, settings: dict, data_root=None):
        self.cache_dir, self.settings = os.fspath(cache_dir), _plain(settings)
        self._root = os.path.abspath(data_root) if data_root else None
        self._hashed = set()
        self.digest = hashlib.sha256(json.dumps(self.settings, sort_keys=True).encode()).digest()[:16]

    def entry_path(self, image_path) -> str:
        """The file that holds the masks of an image."""
        name = hashlib.sha256(os.fsencode(self.key(image_path))).hexdigest()
        return os.path.join(self.cache_dir, name[:2], name[2:24] + SUFFIX)

    def load(self, image_path) -> RunMasks:
        path = self.entry_path(image_path)
        try:
            entry = Entry(_read(path), path)
            self._refuse_others(image_path, path, entry)
        except FileNotFoundError:
            raise MaskStoreError(
                f'no masks of {image_path}: {path} is absent; compute them with tools/cache_masks.py CONFIG'
            ) from None
        except CorruptEntry as error:
            raise MaskStoreError(
                f'the masks of {image_path} in {path} are corrupt ({error}); '
                'tools/cache_masks.py CONFIG computes them anew'
            ) from None
        return RunMasks(entry)

    def check(self, image_path) -> bool:
        """Whether whole masks of the image as it is now are stored; False where they have to be computed.

        Raises:
            MaskStoreError: The entry was made with other settings or from another image.
        """
        path = self.entry_path(image_path)
        try:
            self._refuse_others(image_path, path, Entry(_read(path)))
        except (FileNotFoundError, NotADirectoryError, CorruptEntry):
            return False
        return True

    def _refuse_others(self, image_path, path, entry: Entry) -> None:
        """Raises a MaskStoreError for masks of other settings, of another image, or of one that changed."""
        provenance = entry.provenance
        if entry.digest != self.digest:
            raise self._foreign(image_path, path, provenance)
        if provenance['image'] != self.key(image_path):
            raise MaskStoreError(
                f'foreign masks: {path} is the place of {self.key(image_path)}, and holds the masks '
                f'of {provenance["image"]}; delete that file and run again'
            )
        if not self._is_unchanged(image_path, provenance):
            raise MaskStoreError(
                f'stale masks: {image_path} changed after its masks in {path} were computed (its '
                f'sha256 is no longer {provenance["sha256"]}); delete that file and run again'
            )

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
        provenance = dict(image=self.key(image.path), settings=self.settings, **image.fingerprint)
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
        for pattern in (f'??/.*{SUFFIX}.*{PART}', f'manifests/*/.*{PART}'):
            remove_abandoned(Path(self.cache_dir).glob(pattern))

    def key(self, image_path) -> str:
        """What an image is called here: its path below ``data_root``."""
        path = os.path.abspath(image_path)
        if self._root is None:
            return path
        inside = path.startswith(self._root + os.sep)
        return (path[len(self._root) + 1 :] if inside else os.path.relpath(path, self._root)).replace(os.sep, '/')

    def _is_unchanged(self, image_path, provenance: dict) -> bool:
        stat = os.stat(image_path)
        dates, sha256 = (stat.st_size, stat.st_mtime_ns), provenance['sha256']
        if dates == (provenance['bytes'], provenance['mtime_ns']):
            return True
        # A copy of a data set has new dates, and training reads its images again and again.
        known = hash((os.fspath(image_path), dates, sha256))
        if known not in self._hashed and sha256_of(image_path) == sha256:
            self._hashed.add(known)
        return known in self._hashed

    def _foreign(self, image_path, path, provenance: dict) -> MaskStoreError:
        differences = '; '.join(_differences(provenance['settings'], self.settings))
        return MaskStoreError(
            f'foreign masks: the entry of {image_path}, {path}, was made with other settings '
            f'({differences}). Name another cache_dir in the config, or restore those settings, or '
            f'delete {self.cache_dir}'
        )


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
    # Nothing waits for somebody to write, as it would for a named pipe.
    file = os.open(path, os.O_RDONLY | getattr(os, 'O_BINARY', 0) | getattr(os, 'O_NONBLOCK', 0))
    try:
        return os.read(file, os.fstat(file).st_size)
    finally:
        os.close(file)


def _plain(settings: dict) -> dict:
    """As JSON gives it back: tuples become lists, so that settings compare equal after a round trip."""
    return json.loads(json.dumps(settings))


def _differences(stored, expected, name: str = '') -> list:
    """What differs between two nested dicts, as 'key: entry has X, config has Y'."""
    if isinstance(stored, dict) and isinstance(expected, dict):
        return [
            text
            for key in sorted({*stored, *expected})
            for text in _differences(stored.get(key), expected.get(key), f'{name}.{key}' if name else str(key))
        ]
    return [] if stored == expected else [f'{name}: the entry has {stored!r}, the config {expected!r}']

"""One image's masks as bytes, with a checksum. [ours]

Layout, little-endian: ``HEADER``; the runs, deflated; provenance as JSON. The checksum covers all that follows it.
"""

import json
import struct
import zlib

import numpy as np

from mmsampriors.masks.run_length_masks import RunMasks, Runs

# magic, checksum, digest of the settings, H, W, K, cells, bytes a cell's bits, runs, bytes a run's cell, deflated bytes
HEADER = struct.Struct('<4sI16sIIIIIIII')
CHECKED_FROM = 8
MAGIC = b'SPM1'


class CorruptEntry(RuntimeError):
    """Bytes that are not a whole, unharmed entry."""


class Entry:
    """The bytes of an entry, checked; unpacked when the masks are first read.

    Args:
        data (bytes): What :func:`encode` gave.

    Raises:
        CorruptEntry: The bytes are not a whole, unharmed entry.
    """

    def __init__(self, data: bytes):
        if len(data) < HEADER.size or data[:4] != MAGIC:
            raise CorruptEntry(f'{len(data)} bytes that do not start like an entry')
        self.data = data
        _, checksum, self.digest, *self.counts = HEADER.unpack_from(data)
        if zlib.crc32(memoryview(data)[CHECKED_FROM:]) != checksum:
            raise CorruptEntry(f'the checksum of its {len(data)} bytes is wrong')

    @property
    def size(self) -> tuple:
        """(H, W) of the image in pixels."""
        return tuple(self.counts[:2])

    @property
    def provenance(self) -> dict:
        """What the entry was made from."""
        return json.loads(self.data[HEADER.size + self.counts[-1] :])

    def unpacked(self) -> Runs:
        """The masks of the whole image."""
        *_, count, cells, cell_bytes, runs, itemsize, size = self.counts
        shapes = [('<u2', runs), (f'<u{itemsize}', runs), ('u1', cells * cell_bytes), ('<f4', count), ('<f4', count)]
        # With its size known, the result is not made larger again and again.
        unpacked = (2 + itemsize) * runs + cells * cell_bytes + 8 * count
        body = zlib.decompress(memoryview(self.data)[HEADER.size : HEADER.size + size], bufsize=unpacked)
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

"""Writing photographs: PNG, JPEG, TIFF or WebP, with their EXIF data and colour profile."""

import io
import struct
import zlib
from pathlib import Path
from typing import List, Tuple

import numpy as np
from PIL import Image, TiffImagePlugin

from mmsampriors.files import write_whole

from .pixels import to_eight_bits
from .reading import SUB_DIRECTORIES, Photograph, PhotographError

#: What is written, by suffix.
FORMATS = {
    '.png': 'PNG',
    '.jpg': 'JPEG',
    '.jpeg': 'JPEG',
    '.jpe': 'JPEG',
    '.jfif': 'JPEG',
    '.tif': 'TIFF',
    '.tiff': 'TIFF',
    '.webp': 'WEBP',
}
LONGEST = dict(JPEG=65500, WEBP=16383)  # pixels a side, at most
QUALITY = 95  # of JPEG and of WebP with loss
DEFLATE, CHUNK = 8, b'\x89PNG\r\n\x1a\n'


def refuse_too_large(suffix: str, height: int, width: int):
    """Looks, before the work, whether a format holds an image of that size.

    Raises:
        PhotographError: It does not.
    """
    kind = FORMATS[suffix.lower()]
    if max(height, width) > LONGEST.get(kind, height + width):
        raise PhotographError(
            f'would become {width} by {height} pixels, and {kind} holds at most {LONGEST[kind]} a side: convert the '
            'photograph to PNG or TIFF first'
        )


def encode_photograph(suffix: str, photograph: Photograph) -> Tuple[bytes, List[str]]:
    """A file's content. It is made in memory: Pillow writes to a full disk without a word.

    Args:
        suffix (str): Of the file, one of ``FORMATS``; says the format.
        photograph (Photograph): What is written.

    Returns:
        tuple[bytes, list[str]]: The content, and what the format cannot hold.
    """
    kind = FORMATS[suffix.lower()]
    pixels, alpha, notes = photograph.pixels, photograph.alpha, []
    if kind in ('JPEG', 'WEBP') and pixels.dtype == np.uint16:
        pixels, alpha = (None if array is None else to_eight_bits(array) for array in (pixels, alpha))
        notes.append(f'{kind} holds 8 bits, not 16')
    if kind == 'JPEG' and alpha is not None:
        alpha = None
        notes.append('JPEG holds no alpha: left out')
    pixels = pixels if alpha is None else pixels.reshape(*alpha.shape, -1)
    deep_png = kind == 'PNG' and pixels.dtype == np.uint16 and pixels.ndim == 3
    if deep_png:  # as OpenCV takes it: BGR
        pixels = pixels[..., ::-1] if pixels.shape[2] == 3 else pixels[..., [0, 0, 0]]
    if alpha is not None:
        pixels = np.concatenate([pixels, alpha[..., None]], axis=2)
    file = io.BytesIO()
    if kind == 'TIFF':
        _write_tiff(file, pixels, photograph)
    elif deep_png:
        _write_deep_png(file, pixels, photograph)
    else:
        _write_with_pillow(file, kind, pixels, photograph)
    return file.getvalue(), notes


def write_photograph(path, photograph: Photograph) -> List[str]:
    """Writes a file, whole or not at all, and gives what its format cannot hold; see :func:`encode_photograph`."""
    content, notes = encode_photograph(Path(path).suffix, photograph)
    write_whole(path, content)
    return notes


def _write_with_pillow(file, kind, pixels, photograph):
    options = dict(
        PNG=dict(),
        JPEG=dict(quality=QUALITY, subsampling=0),
        WEBP=dict(lossless=photograph.lossless, quality=QUALITY, exact=True),
    )[kind]
    if photograph.exif is not None:
        options['exif'] = photograph.exif.tobytes()
    Image.fromarray(pixels).save(file, kind, icc_profile=photograph.icc, **options)


def _write_deep_png(file, pixels, photograph):
    """16 bits, colour or gray with alpha: OpenCV makes the file, and profile and EXIF data go in after its header."""
    import cv2

    made, data = cv2.imencode('.png', np.ascontiguousarray(pixels))
    if not made:
        raise OSError('OpenCV could not make a PNG')
    after_header = len(CHUNK) + 8 + 13 + 4
    file.write(data[:after_header])
    if photograph.icc:
        file.write(_png_chunk(b'iCCP', b'ICC Profile\0\0' + zlib.compress(photograph.icc)))
    if photograph.exif is not None:
        file.write(_png_chunk(b'eXIf', photograph.exif.tobytes().removeprefix(b'Exif\0\0')))
    file.write(data[after_header:])


def _png_chunk(name, content):
    return struct.pack('>I', len(content)) + name + content + struct.pack('>I', zlib.crc32(name + content))


def _write_tiff(file, pixels, photograph):
    """In strips of about 1 MB, deflated. Pillow's own writer knows no colour of 16 bits and loses EXIF directories."""
    pixels = pixels.reshape(*pixels.shape[:2], -1)
    if pixels.shape[2] == 2 and pixels.dtype == np.uint16:
        pixels = pixels[..., [0, 0, 0, 1]]  # Pillow reads no gray with alpha of 16 bits
    height, width, samples = pixels.shape
    rows = max(1, 2**20 // (width * samples * pixels.itemsize))
    little = pixels.astype(pixels.dtype.newbyteorder('<'), copy=False)
    strips = [zlib.compress(little[row : row + rows].tobytes()) for row in range(0, height, rows)]
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    for tag in photograph.exif or ():
        tags[tag] = photograph.exif.get_ifd(tag) if tag in SUB_DIRECTORIES else photograph.exif[tag]
    lengths = [len(strip) for strip in strips]
    starts = [sum(lengths[:index]) for index in range(len(lengths))]
    # width, height, bits, compression, how colours are stored, strips, samples, rows of a strip, planes
    bits = (8 * pixels.itemsize,) * samples
    stored = {256: width, 257: height, 258: bits, 259: DEFLATE, 262: 2 if samples > 2 else 1}
    stored |= {273: tuple(starts), 277: samples, 278: rows, 279: tuple(lengths), 284: 1}
    if samples in (2, 4):
        stored[338] = 2  # alpha that the colours are not multiplied by
    for tag, value in stored.items():
        tags[tag] = value
    if photograph.icc:
        tags.tagtype[34675] = 7
        tags[34675] = photograph.icc
    tags.save(file)
    for strip in strips:
        file.write(strip)

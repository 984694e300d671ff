"""Photographs as people have them: read into plain arrays, and written back with what belongs to them.

PNG, JPEG, TIFF and WebP, of 8 or 16 bits, gray or in colour, with alpha, EXIF data and colour profile. Needs Pillow
alone, and OpenCV for colour of 16 bits, which Pillow reads as 8.
"""

import io
import struct
import zlib
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Iterator, List, Optional

import numpy as np
from PIL import ExifTags, Image, TiffImagePlugin

from mmsampriors.files import written_whole

#: What is looked for in folders. Of the second line Pillow reads some with plugins only: they are named, not passed by.
SUFFIXES = frozenset(
    '.png .jpg .jpeg .jpe .jfif .tif .tiff .webp .bmp .gif .ppm .pgm .avif '
    '.heic .heif .jp2 .jxl .dng .nef .cr2 .cr3 .arw .orf .raf .rw2'.split()
)
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
QUALITY = 95  # of JPEG and of WebP with loss
MOST_PIXELS = 2**30  # OpenCV reads no more either
ORIENTATION = ExifTags.Base.Orientation
#: Tags of a TIFF that say how its pixels are stored, and not what the photograph is.
STRUCTURE = frozenset(
    (254, 255, 256, 257, 258, 259, 262, 263, 264, 265, 266, 273, 274, 277, 278, 279, 280, 281, 284, 288, 289, 290, 291)
    + (292, 293, 297, 301, 317, 320, 322, 323, 324, 325, 330, 338, 339, 340, 341, 347, 512, 513, 514, 529, 530, 531)
    + (532, 700, 33723, 34377, 34675)
)
SUB_DIRECTORIES = (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo)
#: What points to other places of the old file and would be wrong in a new one.
BY_OFFSET = (ExifTags.IFD.MakerNote, ExifTags.IFD.Interop)
DEFLATE, CHUNK = 8, b'\x89PNG\r\n\x1a\n'


class PhotographError(ValueError):
    """A file that cannot be read as a photograph; the message says why, and does not repeat the path."""


@dataclass
class Photograph:
    """A photograph, turned upright.

    Args:
        pixels (np.ndarray): (H, W) where it is gray, or else (H, W, 3), RGB; uint8 or uint16.
        alpha (np.ndarray, optional): (H, W), of the same type.
        exif (PIL.Image.Exif, optional): Without orientation and without the small preview, which would show the
            photograph as it was.
        icc (bytes, optional): The colour profile.
        lossless (bool): Whether the file lost nothing, which decides how WebP is written.
        notes (list[str]): What had to be converted.
    """

    pixels: np.ndarray
    alpha: Optional[np.ndarray] = None
    exif: Optional[Image.Exif] = None
    icc: Optional[bytes] = None
    lossless: bool = True
    notes: List[str] = field(default_factory=list)

    def with_pixels(self, pixels: np.ndarray) -> 'Photograph':
        """The same photograph with other pixels, such as the restored ones."""
        return Photograph(pixels, self.alpha, self.exif, self.icc, self.lossless, list(self.notes))


# -------------------------------------------------------------------------------------------------------- reading


def read_photograph(path) -> Photograph:
    """Reads a file.

    Args:
        path (str | Path): The file.

    Raises:
        PhotographError: There is no such file, it is cut off, empty, no image, too large or of a kind that no network
            here restores.
    """
    path = Path(path)
    if not path.is_file():
        raise PhotographError('there is no such file' if not path.exists() else 'is no file')
    if path.stat().st_size == 0:
        raise PhotographError('the file is empty')
    try:
        with _opened(path) as image:
            return photograph_of(image, path)
    except PhotographError:
        raise
    except Image.UnidentifiedImageError:
        raise PhotographError('is no image that Pillow knows') from None
    except Exception as error:  # Pillow's decoders raise whatever they meet in a broken file.
        raise PhotographError(f'cannot be read, it may be cut off or damaged ({error})') from None


@contextmanager
def _opened(path) -> Iterator[Image.Image]:
    """The image without Pillow's own limit, which refuses panoramas; ours comes before any pixel is read."""
    limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
    try:
        with Image.open(path) as image:
            if image.width * image.height > MOST_PIXELS:
                raise PhotographError(f'has {image.width} by {image.height} pixels, more than {MOST_PIXELS}')
            yield image
    finally:
        Image.MAX_IMAGE_PIXELS = limit


def photograph_of(image: Image.Image, path: Optional[Path] = None) -> Photograph:
    """A Pillow image as a photograph, turned upright.

    Args:
        image (PIL.Image.Image): The image.
        path (Path, optional): Its file, from which colour of 16 bits is read.

    Raises:
        PhotographError: It has a mode that no network here restores.
    """
    frames = getattr(image, 'n_frames', 1)
    notes = [f'{frames} images in the file, the first is restored'] if frames > 1 else []
    lossless = _is_lossless(image, path)
    deep, orientation = ';16' in _raw_mode(image), image.getexif().get(ORIENTATION)
    image.load()  # Also before OpenCV reads it, which gives a part of a file that is cut off without a word.
    pixels, alpha, icc, exif = None, None, image.info.get('icc_profile'), _exif_of(image)
    if deep and path is not None and image.mode in ('RGB', 'RGBA', 'LA'):
        pixels, alpha = _sixteen_bits(path, image.mode)
    else:
        # Pillow turns a TIFF while it loads it, and takes the tag away.
        orientation = image.getexif().get(ORIENTATION)
        if image.mode.startswith('I;16'):
            pixels = np.asarray(image).astype(np.uint16)
        else:
            image, icc = _eight_bits(image, icc, deep, notes)
            pixels = np.asarray(image)
            if image.mode in ('LA', 'RGBA'):
                pixels, alpha = (pixels[..., 0] if image.mode == 'LA' else pixels[..., :3]), pixels[..., -1]
    turn = TURNS.get(orientation, np.asarray)
    pixels, alpha = (None if array is None else np.ascontiguousarray(turn(array)) for array in (pixels, alpha))
    return Photograph(pixels, alpha, exif, icc, lossless, notes)


def _raw_mode(image):
    """How the file stores a pixel, such as ``RGB;16B``; empty for an image that came from no file."""
    args = image.tile[0][3] if getattr(image, 'tile', None) else ''
    return str(args[0] if isinstance(args, tuple) and args else args)


def _eight_bits(image, icc, deep, notes):
    """The image in mode L, LA, RGB or RGBA, and the profile that its values follow."""
    mode = image.mode
    if mode in ('I', 'F'):
        raise PhotographError(f'has pixels of 32 bits (mode {mode}); expected 8 or 16')
    if deep:
        notes.append(f'{mode} of 16 bits, read as 8 bits')
    if mode == 'CMYK':
        return _rgb_of_cmyk(image, icc, notes), None
    transparent = 'transparency' in image.info or mode in ('PA', 'La', 'RGBa')
    if mode in ('P', 'PA'):
        notes.append('palette, converted to RGB')
        return image.convert('RGBA' if transparent else 'RGB'), icc
    if mode == '1':
        notes.append('black and white, converted to gray')
        return image.convert('L'), icc
    if mode in ('L', 'RGB') and not transparent or mode in ('LA', 'RGBA'):
        return image, icc
    if mode not in ('L', 'RGB'):
        notes.append(f'{mode}, converted to RGB')
    target = dict(L='LA', La='LA').get(mode, 'RGBA' if transparent else 'RGB')
    try:
        return image.convert(target), icc
    except ValueError:
        raise PhotographError(f'has the mode {mode}, which cannot be converted to {target}') from None


def _rgb_of_cmyk(image, icc, notes):
    from PIL import ImageCms

    if icc:
        try:
            profiles = ImageCms.ImageCmsProfile(io.BytesIO(icc)), ImageCms.createProfile('sRGB')
            converted = ImageCms.profileToProfile(image, *profiles, outputMode='RGB')
        except (ImageCms.PyCMSError, OSError):
            notes.append('CMYK with a profile that cannot be used, converted to RGB without it')
        else:
            notes.append('CMYK, converted to sRGB by its profile')
            return converted
    else:
        notes.append('CMYK without a profile, converted to RGB')
    return image.convert('RGB')


def _sixteen_bits(path, mode):
    """Pixels and alpha of a colour file of 16 bits, or of a gray one with alpha."""
    import cv2

    data = np.fromfile(path, np.uint8)
    _forget_orientation(data)
    array = cv2.imdecode(data, cv2.IMREAD_UNCHANGED)
    if array is None or array.dtype != np.uint16 or array.ndim != 3:
        raise PhotographError(f'{mode} of 16 bits that OpenCV cannot read')
    alpha = array[..., -1].copy() if array.shape[2] == 4 else None
    return (array[..., 0] if mode == 'LA' else array[..., 2::-1]), alpha


def _forget_orientation(data):
    """Marks a TIFF in memory as upright: OpenCV turns some by itself and fails at others."""
    head = data[:8].tobytes()
    if head[:4] not in (b'II*\0', b'MM\0*'):
        return
    order = '<' if head[:2] == b'II' else '>'
    (start,) = struct.unpack(order + 'I', head[4:])
    (count,) = struct.unpack(order + 'H', data[start : start + 2].tobytes())
    for entry in range(start + 2, start + 2 + 12 * count, 12):
        if struct.unpack(order + 'H', data[entry : entry + 2].tobytes())[0] == ORIENTATION:
            data[entry + 8 : entry + 10] = np.frombuffer(struct.pack(order + 'H', 1), np.uint8)


def _exif_of(image):
    """The EXIF data that the restored photograph keeps; of a TIFF without what says how the pixels are stored."""
    exif = image.getexif()
    kept = Image.Exif()
    for tag, value in exif.items():
        if tag not in STRUCTURE and tag not in SUB_DIRECTORIES:
            kept[tag] = value
    for group in SUB_DIRECTORIES:
        values = {tag: value for tag, value in exif.get_ifd(group).items() if tag not in BY_OFFSET}
        if values:
            kept.get_ifd(group).update(values)
            kept[group] = 0  # Pillow writes its own offset there
    return kept if len(kept) else None


def _is_lossless(image, path):
    if image.format == 'WEBP' and path is not None:
        with open(path, 'rb') as file:
            head = file.read(64)
        return b'VP8L' in head
    return image.format not in ('JPEG', 'MPO', 'AVIF')


#: How the stored pixels become the upright image, by the value of EXIF's Orientation.
TURNS = {
    2: lambda pixels: pixels[:, ::-1],
    3: lambda pixels: pixels[::-1, ::-1],
    4: lambda pixels: pixels[::-1],
    5: lambda pixels: pixels.swapaxes(0, 1),
    6: lambda pixels: np.rot90(pixels, -1),
    7: lambda pixels: pixels[::-1, ::-1].swapaxes(0, 1),
    8: lambda pixels: np.rot90(pixels),
}

# -------------------------------------------------------------------------------------------------------- writing


def write_photograph(path, photograph: Photograph) -> List[str]:
    """Writes a file, whole or not at all.

    Args:
        path (str | Path): The file; its suffix, one of ``FORMATS``, says the format.
        photograph (Photograph): What is written.

    Returns:
        list[str]: What the format cannot hold.
    """
    path = Path(path)
    kind = FORMATS[path.suffix.lower()]
    pixels, alpha, notes = photograph.pixels, photograph.alpha, []
    if kind in ('JPEG', 'WEBP') and pixels.dtype == np.uint16:
        pixels, alpha = (None if array is None else _to_eight_bits(array) for array in (pixels, alpha))
        notes.append(f'{kind} holds 8 bits, not 16')
    if kind == 'JPEG' and alpha is not None:
        alpha = None
        notes.append('JPEG holds no alpha: left out')
    if alpha is not None:
        pixels = np.concatenate([pixels.reshape(*alpha.shape, -1), alpha[..., None]], axis=2)
    with written_whole(path) as part, open(part, 'wb') as file:
        if kind == 'TIFF':
            _write_tiff(file, pixels, photograph)
        elif pixels.dtype == np.uint16 and pixels.ndim == 3:
            _write_deep_png(file, pixels, photograph)
        else:
            _write_with_pillow(file, kind, pixels, photograph)
    return notes


def _to_eight_bits(array):
    return np.round(array / 257).astype(np.uint8)


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

    if pixels.shape[2] == 2:
        pixels = pixels[..., [0, 0, 0, 1]]
    order = [2, 1, 0, 3][: pixels.shape[2]]
    made, data = cv2.imencode('.png', pixels[..., order])
    if not made:
        raise OSError('OpenCV could not make a PNG')
    data = data.tobytes()
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

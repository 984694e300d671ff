"""Finding and reading photographs as people have them: 8 or 16 bits, gray or colour, alpha, EXIF data, profile.

What would be misread is refused. Needs Pillow alone, and OpenCV for colour of 16 bits, which Pillow reads as 8.
"""

import io
import os
import struct
import sys
from contextlib import contextmanager, nullcontext
from copy import deepcopy
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import BinaryIO, Collection, Iterator, List, Optional, Union

import numpy as np
from PIL import ExifTags, Image, ImageFile, PngImagePlugin

from mmsampriors.files import refuse_remote

from .pixels import enlarged

#: What is looked for in folders. Of the second line Pillow reads some with plugins only: they are named, not passed by.
SUFFIXES = frozenset(
    '.png .jpg .jpeg .jpe .jfif .tif .tiff .webp .bmp .gif .ppm .pgm .avif '
    '.heic .heif .jp2 .jxl .dng .nef .cr2 .cr3 .arw .orf .raf .rw2'.split()
)
#: What training and the making of pairs look for: what OpenCV loads, too. A camera's raw file lies beside its JPEG.
TRAINING_SUFFIXES = ('.bmp', '.jpeg', '.jpg', '.png', '.ppm', '.tif', '.tiff', '.webp')
#: What is opened, whatever the file's name says, and nothing else: Pillow hands some formats to other programs, as EPS
#: to Ghostscript.
READ_FORMATS = ('PNG', 'JPEG', 'TIFF', 'WEBP', 'BMP', 'GIF', 'PPM', 'AVIF', 'JPEG2000')
MOST_PIXELS = 2**30  # of an image; OpenCV reads no more either
ORIENTATION = ExifTags.Base.Orientation
#: Tags of a TIFF that say how its pixels are stored, and not what the photograph is.
STRUCTURE = frozenset(
    (254, 255, 256, 257, 258, 259, 262, 263, 264, 265, 266, 273, 274, 277, 278, 279, 280, 281, 284, 288, 289, 290, 291)
    + (292, 293, 297, 301, 317, 320, 322, 323, 324, 325, 330, 338, 339, 340, 341, 347, 512, 513, 514, 529, 530, 531)
    + (532, 700, 33723, 34377, 34675)
)
DNG_VERSION = 50706  # which raw files of several cameras have
EXTRA_SAMPLES = 338  # of a TIFF: what its channels beside the colours are
#: What a TIFF has where it does not say: channels, bits of each, kinds of numbers, arrangement, extra channels.
TIFF_DEFAULTS = {277: 1, 258: (1,), 339: (1,), 284: 1, EXTRA_SAMPLES: ()}
SAMPLE_KINDS = {1: 'unsigned integers', 2: 'signed integers', 3: 'floating point numbers'}
#: What Pillow says of floating point colours and the like, and what is said in its place.
UNKNOWN_MODE = 'unknown pixel mode'
NO_MODE = 'pixels such as floating point colours, which are not read; expected unsigned integers of 8 or 16 bits'
TOO_MUCH_TEXT = 'MAX_TEXT_'  # in what Pillow says of it: the settings PngImagePlugin.MAX_TEXT_*
DEEP_COLOUR = ('PNG', 'TIFF', 'PPM')  # formats whose colours of 16 bits OpenCV reads rightly
SUB_DIRECTORIES = (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo)
#: What points to other places of the old file and would be wrong in a new one.
BY_OFFSET = (ExifTags.IFD.MakerNote, ExifTags.IFD.Interop)


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
        notes (list[str]): What had to be converted or left out.
    """

    pixels: np.ndarray
    alpha: Optional[np.ndarray] = None
    exif: Optional[Image.Exif] = None
    icc: Optional[bytes] = None
    lossless: bool = True
    notes: List[str] = field(default_factory=list)

    def with_pixels(self, pixels: np.ndarray) -> 'Photograph':
        """The same photograph with other pixels, such as the restored ones; alpha is enlarged where they are more."""
        alpha = None if self.alpha is None else enlarged(self.alpha, len(pixels) // len(self.pixels))
        exif = _exif_of_size(self.exif, *pixels.shape[:2])
        return Photograph(pixels, alpha, exif, self.icc, self.lossless, list(self.notes))


# -------------------------------------------------------------------------------------------------------- finding


def images_in(folder, suffixes: Collection[str] = SUFFIXES, leave_out=None) -> List[Path]:
    """The image files below a folder, in order of their paths; names that begin with a dot are left out.

    Links to folders are followed, each folder once. One that leads back is skipped, and that is printed. So is a folder
    that cannot be read.

    Args:
        folder (str | Path): Searched to any depth.
        suffixes (Collection[str]): Of the files, in small letters.
        leave_out (str | Path, optional): A folder whose files are no images of it, such as that of results.

    Raises:
        ValueError: It is the address of a storage service.
    """
    refuse_remote(folder, 'a folder of images')
    found, root = [], os.path.realpath(folder)
    searched = {root} if leave_out is None else {root, os.path.realpath(leave_out)}
    for parent, folders, names in os.walk(folder, followlinks=True, onerror=_say_unreadable):
        visible = (os.path.join(parent, name) for name in sorted(folders) if not name.startswith('.'))
        folders[:] = [os.path.basename(path) for path in visible if _is_new(path, root, searched)]
        found += [
            Path(parent, name)
            for name in names
            if not name.startswith('.') and os.path.splitext(name)[1].lower() in suffixes
        ]
    return sorted(found)


def _say_unreadable(error):
    print(f'{error.filename} is skipped: {error.strerror}', file=sys.stderr)


def _is_new(folder, root, searched):
    real, is_link = os.path.realpath(folder), os.path.islink(folder)
    leads_back = is_link and (Path(real).is_relative_to(root) or Path(root).is_relative_to(real))
    if real not in searched and not leads_back:
        searched.add(real)
        return True
    if is_link:
        print(f'{folder} is skipped: it leads to a folder that is searched already', file=sys.stderr)
    return False


# -------------------------------------------------------------------------------------------------------- reading


@contextmanager
def open_image(source: Union[str, Path, BinaryIO], most_pixels: int = MOST_PIXELS) -> Iterator[Image.Image]:
    """A Pillow image of one of ``READ_FORMATS``, whose size is known and whose pixels are not read yet.

    Not ``Image.open``, whose bound of pixels, ``Image.MAX_IMAGE_PIXELS``, is one for all threads of the process.

    Args:
        source (str | Path | BinaryIO): The file, or its content.
        most_pixels (int): Larger images are refused.

    Raises:
        PIL.UnidentifiedImageError: It has another format, or no valid header.
        PhotographError: It has too many pixels.
    """
    with _opened(source) as file, _parsed(file) as image:
        if image.width * image.height > most_pixels:
            raise PhotographError(
                f'has {image.width} by {image.height} pixels, and {most_pixels / 1e6:g} million are allowed: make it '
                'smaller'
            )
        yield image


def _opened(source):
    return nullcontext(source) if hasattr(source, 'read') else open(source, 'rb')


def _parsed(file):
    Image.init()
    file.seek(0)
    prefix, reasons = file.read(16), []
    for name in READ_FORMATS:
        parse, accepts = Image.OPEN.get(name, (None, None))
        if parse is None or accepts(prefix) is not True:  # a sentence where Pillow was built without the format
            continue
        file.seek(0)
        try:
            image = parse(file, '')
            if image.format == 'TIFF':
                image.load_prepare = partial(_prepare_tiff, image)
            return image
        except (SyntaxError, IndexError, TypeError, struct.error) as error:  # as in Image.open
            reasons.append(f'{name}: {error}'.replace(UNKNOWN_MODE, NO_MODE))
    raise Image.UnidentifiedImageError(
        f'is no image that Pillow can read ({"; ".join(reasons)})'
        if reasons
        else f'is no image of a format that is read ({", ".join(READ_FORMATS)})'
    )


def _prepare_tiff(image):
    """As Pillow 12.3 prepares the loading of a TIFF, without its bound of pixels."""
    if image._im is None:
        image.im = Image.core.new(image.mode, image._tile_size)
    ImageFile.ImageFile.load_prepare(image)


def read_photograph(
    source: Union[str, Path, BinaryIO], most_pixels: int = MOST_PIXELS, upright: bool = True
) -> Photograph:
    """Reads a file.

    Args:
        source (str | Path | BinaryIO): The file, or its content.
        most_pixels (int): Larger images are refused before their pixels are read.
        upright (bool): Whether to turn it as its EXIF data say. False gives the pixels as they are stored.

    Raises:
        PhotographError: There is no such file, it is cut off, empty, no image, too large or of a kind that no network
            here restores.
    """
    if not hasattr(source, 'read'):
        path = Path(source)
        if not path.is_file():
            raise PhotographError('there is no such file' if not path.exists() else 'is no file')
        if path.stat().st_size == 0:
            raise PhotographError('the file is empty')
    try:
        with _opened(source) as file, open_image(file, most_pixels) as image:
            return photograph_of(image, file, upright)
    except PhotographError:
        raise
    except Image.UnidentifiedImageError as error:
        raise PhotographError(str(error)) from None
    except Exception as error:  # Pillow's decoders raise whatever they meet in a broken file.
        if TOO_MUCH_TEXT in str(error):
            raise PhotographError(
                f'carries more text than the {PngImagePlugin.MAX_TEXT_MEMORY / 2**20:g} MiB, 1 of them in one piece, '
                'that are read of a PNG: save it without its comments'
            ) from None
        raise PhotographError(f'cannot be read, it may be cut off or damaged ({error})') from None


def read_rgb(source: Union[str, Path, BinaryIO], most_pixels: int = MOST_PIXELS, upright: bool = True) -> np.ndarray:
    """The colours of a file alone, as :func:`read_photograph` reads them.

    Returns:
        np.ndarray: (H, W, 3), RGB, uint8 or uint16; of a gray image three equal channels.
    """
    pixels = read_photograph(source, most_pixels, upright).pixels
    return np.repeat(pixels[..., None], 3, axis=2) if pixels.ndim == 2 else pixels


def photograph_of(image: Image.Image, file: Optional[BinaryIO] = None, upright: bool = True) -> Photograph:
    """A Pillow image as a photograph.

    Args:
        image (PIL.Image.Image): The image.
        file (BinaryIO, optional): Its file, from which colour of 16 bits is read.
        upright (bool): As for :func:`read_photograph`.

    Raises:
        PhotographError: It has a mode that no network here restores, or one that would be misread.
    """
    notes = check_storage(image)
    most, lossless = _largest_value(image, file), _is_lossless(image, file)
    if image.format == 'PNG':
        image.load()  # Pillow does when it looks for EXIF data, so that damaged pixels passed for damaged EXIF data.
    exif, orientation = _exif_of(image, notes)
    icc = image.info.get('icc_profile')
    image.load()  # Also before OpenCV reads it, which gives a part of a file that is cut off without a word.
    by_opencv = most > 255 and file is not None and image.format in DEEP_COLOUR and image.mode in ('RGB', 'RGBA', 'LA')
    is_upright = image.format == 'TIFF' and not by_opencv  # Pillow turns a TIFF while it loads it
    if by_opencv:
        pixels, alpha = _deep_colour(image, file, most)
    elif image.mode.startswith('I;16') or image.format == 'PPM' and image.mode == 'I':
        pixels, alpha = _deep_gray(image)
    else:
        image, icc = _eight_bits(image, icc, most > 255, notes)
        pixels, alpha = np.asarray(image), None
        if image.mode in ('LA', 'RGBA'):
            pixels, alpha = (pixels[..., 0] if image.mode == 'LA' else pixels[..., :3]), pixels[..., -1]
    turn = _turn(orientation, is_upright, upright)
    pixels, alpha = (None if array is None else np.ascontiguousarray(turn(array)) for array in (pixels, alpha))
    return Photograph(pixels, alpha, exif, icc, lossless, notes)


def check_storage(image: Image.Image) -> List[str]:
    """Notes on what of a file is left out when it is read.

    Raises:
        PhotographError: It is a TIFF that Pillow or OpenCV would misread, or a camera's raw file.
    """
    frames = getattr(image, 'n_frames', 1)
    notes = [f'{frames} images in the file, the first is restored'] if frames > 1 else []
    if image.format != 'TIFF':
        return notes
    if image.tag_v2.get(254, 0) & 1 or DNG_VERSION in image.tag_v2:
        raise PhotographError('is a raw file of a camera, of which a preview would be read: develop it first')
    tags = {tag: image.tag_v2.get(tag, default) for tag, default in TIFF_DEFAULTS.items()}
    count, bits, kinds, planes, extra = (tags[tag] for tag in (277, 258, 339, 284, 338))
    if set(kinds) != {1} or not set(bits) <= {1, 2, 4, 8, 16}:
        kind = SAMPLE_KINDS.get(kinds[0], 'other numbers')
        raise PhotographError(f'has {kind} of {max(bits)} bits; expected unsigned integers of 8 or 16 bits')
    if (image.tag_v2.get(262), image.tag_v2.get(259)) == (6, 1):
        raise PhotographError('has YCbCr without compression, which Pillow 12.3 misreads: save it as RGB')
    if count > 4:
        raise PhotographError(f'has {count} channels; expected gray or colour, with or without alpha')
    if planes == 2 and count > 1 and (count == 2 or max(bits) > 8):
        raise PhotographError(
            f'stores its {count} channels of {max(bits)} bits one after the other (planar), which is not read: save it '
            'with the channels of a pixel together'
        )
    if 0 in extra:
        notes.append('a channel beside the colours of which the file does not say what it is: left out')
    return notes


def _largest_value(image, file):
    """The value of white in the file; above 255 where samples have more than 8 bits, which Pillow says of gray only."""
    args = image.tile[0][3] if getattr(image, 'tile', None) else ''
    raw, *others = args if isinstance(args, tuple) and args else (args,)
    if image.format == 'PPM' and image.mode == 'RGB':
        return others[0] if others and others[0] else 255
    if image.format == 'JPEG2000' and file is not None:
        head = _content(file).partition(b'\xff\x4f\xff\x51')[2]  # what follows begins with the sizes of the image
        if head[38] & 0x80:
            raise PhotographError('has signed integers; expected unsigned integers of 8 or 16 bits')
        return 2 ** (head[38] + 1) - 1
    if image.format == 'AVIF' and file is not None:
        head = _content(file).partition(b'av1C')[2][:3]
        return 1023 if len(head) == 3 and head[2] & 0x40 else 255
    return 65535 if ';16' in str(raw) and not str(raw).startswith('BGR') else 255  # BGR;16 has 16 bits a pixel


def _content(file):
    file.seek(0)
    return file.read()


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


def _deep_gray(image):
    """Pixels and alpha of a gray image of 16 bits."""
    pixels = np.asarray(image).astype(np.uint16)
    if image.format == 'TIFF' and image.tag_v2.get(262) == 0:
        pixels = 65535 - pixels  # white is 0, which Pillow heeds for 8 bits only
    key = image.info.get('transparency')
    return pixels, None if key is None else np.where(pixels == key, 0, 65535).astype(np.uint16)


def _deep_colour(image, file, most):
    """Pixels and alpha of a colour file of 16 bits, or of a gray one with alpha."""
    try:
        import cv2
    except ImportError:
        raise PhotographError('has colour of 16 bits, for which OpenCV is needed: install opencv-python') from None

    data = np.frombuffer(bytearray(_content(file)), np.uint8)
    _forget_orientation(data)
    array = cv2.imdecode(data, cv2.IMREAD_UNCHANGED)
    if array is None or array.dtype != np.uint16 or array.ndim != 3:
        raise PhotographError(f'{image.mode} of 16 bits that OpenCV cannot read')
    if most < 65535:
        array = np.rint(array * (65535 / most)).astype(np.uint16)
    colours = array[..., 0] if image.mode == 'LA' else array[..., 2::-1]
    if array.shape[2] < 4 or image.mode == 'RGB' and 'transparency' not in image.info:
        return colours, None
    alpha = array[..., 3]
    if image.format == 'TIFF' and 1 in image.tag_v2.get(EXTRA_SAMPLES, ()):  # colours are multiplied by it
        colours = np.rint(np.minimum(colours * (65535 / np.maximum(alpha, 1))[..., None], 65535)).astype(np.uint16)
    return colours, alpha


def _forget_orientation(data):
    """Marks a TIFF in memory as upright: OpenCV turns some by itself and fails at others."""
    head = data[:16].tobytes()
    if head[:4] not in (b'II*\0', b'MM\0*', b'II+\0', b'MM\0+'):
        return
    order, big = '<' if head[:2] == b'II' else '>', b'+' in head[:4]
    offset, number, entry_length = ('Q', 'Q', 20) if big else ('I', 'H', 12)
    (start,) = struct.unpack_from(order + offset, head, 8 if big else 4)
    (count,) = struct.unpack_from(order + number, data, start)
    start += struct.calcsize(number)
    for entry in range(start, start + entry_length * count, entry_length):
        if struct.unpack_from(order + 'H', data, entry)[0] == ORIENTATION:
            struct.pack_into(order + 'H', data, entry + (12 if big else 8), 1)


def _exif_of(image, notes):
    """The EXIF data that the restored photograph keeps, and the orientation.

    Of a TIFF without what says how the pixels are stored. What is of another type than its tag asks for could not be
    written again, and is left out.
    """
    try:
        exif = image.getexif()
    except Exception:  # whatever Pillow meets in broken ones
        notes.append('EXIF data that cannot be read: left out')
        return None, 1
    wanted = [(None, exif)] + [(group, exif.get_ifd(group)) for group in SUB_DIRECTORIES]
    kept, left_out = Image.Exif(), []
    for group, values in wanted:
        for tag, value in values.items():
            if tag in (STRUCTURE | set(SUB_DIRECTORIES) if group is None else BY_OFFSET):
                continue
            if _can_be_written(group, tag, value):
                _put(kept, group, tag, value)
            else:
                left_out.append(ExifTags.TAGS.get(tag, str(tag)))
    orientation = exif.get(ORIENTATION, 1)
    if not isinstance(orientation, int):
        orientation = left_out.append('Orientation') or 1
    if left_out:
        notes.append(f'EXIF of a wrong type, left out: {", ".join(left_out)}')
    return kept if len(kept) else None, orientation


def _exif_of_size(exif, height, width):
    """A copy whose tags of the image's size, where it has them, are right."""
    exif = deepcopy(exif)
    if exif is not None and ExifTags.IFD.Exif in exif:
        tags = exif.get_ifd(ExifTags.IFD.Exif)
        sizes = {ExifTags.Base.ExifImageWidth: width, ExifTags.Base.ExifImageHeight: height}
        tags.update({tag: size for tag, size in sizes.items() if tag in tags})
    return exif


def _put(exif, group, tag, value):
    if group is None:
        exif[tag] = value
    else:
        exif.get_ifd(group)[tag] = value
        exif[group] = 0  # Pillow writes its own offset there


def _can_be_written(group, tag, value):
    one = Image.Exif()
    _put(one, group, tag, value)
    try:
        one.tobytes()
    except Exception:  # struct.error, TypeError, AttributeError and others, as the value happens to be
        return False
    return True


def _is_lossless(image, file):
    if image.format == 'WEBP' and file is not None:
        return _first_webp_chunk(_content(file)) == b'VP8L'
    return image.format not in ('JPEG', 'MPO', 'AVIF')


def _first_webp_chunk(content):
    """The name of the chunk that holds the (first) image: VP8L without loss, or else VP8."""
    start = 12
    while start + 8 <= len(content):
        name, length = struct.unpack_from('<4sI', content, start)
        if name.startswith(b'VP8') and name != b'VP8X':
            return name
        # A frame of an animation holds chunks of its own, behind 16 bytes.
        start += 8 + (16 if name == b'ANMF' else length + length % 2)
    return b''


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

TURNS_BACK = {6: 8, 8: 6}  # the others are their own


def _turn(orientation, is_upright, upright):
    if is_upright == upright:
        return np.asarray
    return TURNS.get(orientation if upright else TURNS_BACK.get(orientation, orientation), np.asarray)

"""Photographs as people have them, and the broken ones."""

import io
import os
import re
import struct
import threading
import zlib
from pathlib import Path

import numpy as np
import PIL
import pytest
import skimage.data
import tifffile
from hypothesis import given as with_any
from hypothesis import settings
from hypothesis import strategies as st
from PIL import EpsImagePlugin, Image, ImageCms, TiffImagePlugin, TiffTags
from PIL.PngImagePlugin import PngInfo
from skimage.metrics import peak_signal_noise_ratio

import mmsampriors
from mmsampriors.images import (
    TRAINING_SUFFIXES,
    Photograph,
    PhotographError,
    images_in,
    open_image,
    psnr,
    read_photograph,
    read_rgb,
    to_eight_bits,
    write_photograph,
)
from mmsampriors.images.reading import TURNS

EXIF_DIRECTORY, GPS_DIRECTORY, ORIENTATION, MAKE, EXPOSURE = 0x8769, 0x8825, 0x0112, 0x010F, 0x829A
MAKER_NOTE = 0x927C
EPS = b'%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n%%EOF\n'
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile('sRGB')).tobytes()


def pixels_of(bits=8, gray=False):
    pixels = np.random.default_rng(0).integers(0, 2**bits, (20, 31, 3)).astype(f'uint{bits}')
    return pixels[..., 0] if gray else pixels


def exif_of(**tags):
    exif = Image.Exif()
    exif[MAKE] = 'Maker'
    exif.get_ifd(EXIF_DIRECTORY)[EXPOSURE] = 0.01
    exif.get_ifd(GPS_DIRECTORY)[1] = 'N'
    exif[EXIF_DIRECTORY] = exif[GPS_DIRECTORY] = 0  # Pillow fills in where they are
    for tag, value in tags.items():
        exif[dict(orientation=ORIENTATION)[tag]] = value
    return exif


@pytest.mark.parametrize('alpha', [False, True], ids=['opaque', 'alpha'])
@pytest.mark.parametrize('gray', [False, True], ids=['colour', 'gray'])
@pytest.mark.parametrize('bits', [8, 16])
@pytest.mark.parametrize('suffix', ['png', 'tif', 'webp'])
def test_lossless_files_come_back_as_they_were(tmp_path, suffix, bits, gray, alpha):
    if suffix == 'webp' and bits == 16:
        pytest.skip('WebP holds 8 bits')
    pixels = pixels_of(bits, gray)
    given = Photograph(pixels, pixels_of(bits)[..., 1] if alpha else None, exif_of(), SRGB)
    assert write_photograph(tmp_path / f'a.{suffix}', given) == []
    found = read_photograph(tmp_path / f'a.{suffix}')
    if found.pixels.ndim > pixels.ndim:  # WebP knows no gray, and 16 bits no gray with alpha
        assert suffix == 'webp' or bits == 16 and alpha
        pixels = np.stack([pixels] * 3, axis=2)
    np.testing.assert_array_equal(found.pixels, pixels, strict=True)
    assert (found.alpha is None) != alpha and (not alpha or np.array_equal(found.alpha, given.alpha))
    assert found.icc == SRGB
    assert found.exif[MAKE] == 'Maker'
    assert found.exif.get_ifd(EXIF_DIRECTORY)[EXPOSURE] == pytest.approx(0.01)
    assert found.exif.get_ifd(GPS_DIRECTORY)[1] == 'N'


@pytest.mark.parametrize('suffix', ['jpg', 'png', 'tif'])
def test_what_points_into_the_old_file_is_left_out(tmp_path, suffix):
    exif = exif_of()
    exif.get_ifd(EXIF_DIRECTORY)[MAKER_NOTE] = b'Maker' + bytes(60)
    Image.fromarray(pixels_of()).save(tmp_path / f'a.{suffix}', exif=exif)
    with Image.open(tmp_path / f'a.{suffix}') as image:
        assert MAKER_NOTE in image.getexif().get_ifd(EXIF_DIRECTORY)
    write_photograph(tmp_path / f'b.{suffix}', read_photograph(tmp_path / f'a.{suffix}'))
    with Image.open(tmp_path / f'b.{suffix}') as image:
        kept = image.getexif().get_ifd(EXIF_DIRECTORY)
    assert MAKER_NOTE not in kept and kept[EXPOSURE] == pytest.approx(0.01)


def test_jpeg_keeps_what_belongs_to_it_and_nearly_all_of_the_pixels(tmp_path):
    cat = skimage.data.chelsea()
    write_photograph(tmp_path / 'a.jpg', Photograph(cat, None, exif_of(), SRGB))
    found = read_photograph(tmp_path / 'a.jpg')
    assert np.abs(found.pixels.astype(int) - cat).mean() < 2
    assert found.icc == SRGB and found.exif.get_ifd(EXIF_DIRECTORY)[EXPOSURE] == pytest.approx(0.01)
    assert not found.lossless


def test_what_a_format_cannot_hold_is_said(tmp_path):
    given = Photograph(pixels_of(16), pixels_of(16)[..., 0])
    assert write_photograph(tmp_path / 'a.jpg', given) == [
        'JPEG holds 8 bits, not 16',
        'JPEG holds no alpha: left out',
    ]
    found = read_photograph(tmp_path / 'a.jpg').pixels
    assert found.dtype == np.uint8


def test_sixteen_bits_become_the_nearest_eight(tmp_path):
    deep = np.arange(2**16, dtype=np.uint16).reshape(256, 256)
    eight = to_eight_bits(deep)
    assert eight.dtype == np.uint8 and np.abs(eight * 257.0 - deep).max() <= 128
    assert write_photograph(tmp_path / 'a.webp', Photograph(np.stack([deep] * 3, axis=2)))
    np.testing.assert_array_equal(read_rgb(tmp_path / 'a.webp')[..., 0], eight)


@pytest.mark.parametrize('orientation', range(1, 9))
@pytest.mark.parametrize('name', ['8.png', '8.tif', '8.jpg', '16.png', '16.tif'])
def test_orientation_is_applied_once(tmp_path, name, orientation):
    """A corner that is bright, and how the tag says to turn it."""
    bits, path = int(name.split('.')[0]), tmp_path / name
    stored = np.zeros((16, 32, 3), f'uint{bits}')
    stored[:8, :16] = np.iinfo(stored.dtype).max
    if bits == 8:
        exif = exif_of(orientation=orientation)
        Image.fromarray(stored).save(path, exif=exif, **(dict(quality=100) if name.endswith('jpg') else {}))
    else:
        write_photograph(path, Photograph(stored, None, exif_of(orientation=orientation)))
    top, left = orientation in (1, 2, 5, 6), orientation in (1, 4, 5, 8)
    for _ in range(2):  # and once more, from what was written: nothing is left to turn
        found = read_photograph(path)
        height, width = (16, 32) if orientation <= 4 else (32, 16)
        assert found.pixels.shape == (height, width, 3)
        half = found.pixels[..., 1] > np.iinfo(stored.dtype).max / 2
        rows = slice(None, height // 2) if top else slice(height // 2, None)
        columns = slice(None, width // 2) if left else slice(width // 2, None)
        assert half[rows, columns].mean() > 0.95 and half.mean() < 0.27
        assert found.exif is None or ORIENTATION not in found.exif
        write_photograph(path, found)


@pytest.mark.parametrize(
    'mode, file, options, expected, note',
    [
        ('P', 'a.png', {}, (20, 31, 3), 'palette'),
        ('P', 'a.png', dict(transparency=0), (20, 31, 3), 'palette'),
        ('P', 'a.gif', {}, (20, 31, 3), 'palette'),
        ('CMYK', 'a.jpg', {}, (20, 31, 3), 'CMYK without a profile'),
        ('CMYK', 'a.tif', {}, (20, 31, 3), 'CMYK without a profile'),
        ('CMYK', 'a.jpg', dict(icc_profile=b'no profile'), (20, 31, 3), 'profile that cannot be used'),
        ('1', 'a.png', {}, (20, 31), 'black and white'),
        pytest.param(
            *('YCbCr', 'a.tif', {}, (20, 31, 3), 'YCbCr'),
            marks=pytest.mark.skipif(
                PIL.__version__ < '13', reason='Pillow 12.3 cannot read the YCbCr TIFF that it writes'
            ),
        ),
    ],
)
def test_other_modes_are_converted_and_it_is_said(tmp_path, mode, file, options, expected, note):
    Image.fromarray(pixels_of()).convert(mode).save(tmp_path / file, **options)
    found = read_photograph(tmp_path / file)
    assert found.pixels.shape == expected and note in found.notes[0]
    assert (found.alpha is not None) == ('transparency' in options)
    if mode == 'CMYK':
        assert found.icc is None, 'the profile is of CMYK values'


def test_only_the_first_of_several_images_is_read_and_it_is_said(tmp_path):
    frames = [Image.fromarray(pixels_of()), Image.fromarray(255 - pixels_of())]
    frames[0].save(tmp_path / 'a.tif', save_all=True, append_images=frames[1:])
    found = read_photograph(tmp_path / 'a.tif')
    assert np.array_equal(found.pixels, pixels_of()) and '2 images' in found.notes[0]


def broken_files(folder):
    """Fourteen files that are not read, with a part of what is said of them."""
    Image.fromarray(pixels_of().repeat(8, 0)).save(folder / 'whole.png')
    whole = (folder / 'whole.png').read_bytes()
    Image.fromarray(pixels_of().repeat(8, 0)).save(folder / 'whole.jpg')
    jpeg = (folder / 'whole.jpg').read_bytes()
    write_photograph(folder / 'deep.png', Photograph(pixels_of(16).repeat(8, 0)))
    deep = (folder / 'deep.png').read_bytes()
    write_photograph(folder / 'deep.tif', Photograph(pixels_of(16).repeat(8, 0)))
    tiff = (folder / 'deep.tif').read_bytes()
    for name in ('whole.png', 'whole.jpg', 'deep.png', 'deep.tif'):
        (folder / name).unlink()
    contents = {
        'empty.png': (b'', 'empty'),
        'text.jpg': (b'I am no photograph', 'no image'),
        'zeros.webp': (bytes(1000), 'no image'),
        'cut.png': (whole[: len(whole) // 2], 'cut off'),
        'cut.jpg': (jpeg[: len(jpeg) // 2], 'cut off'),
        'cut_deep.png': (deep[: len(deep) // 2], 'cut off'),
        'cut_deep.tif': (tiff[: len(tiff) // 2], 'cut off'),
        'head.png': (whole[:20], 'cut off'),
        'raw.heic': (b'\0\0\0\x18ftypheic' + bytes(100), 'no image'),
        'eps.png': (EPS, 'no image of a format that is read'),
    }
    for name, (content, _) in contents.items():
        (folder / name).write_bytes(content)
    deep = pixels_of(16)
    tifffile.imwrite(folder / 'planar.tif', deep.transpose(2, 0, 1), photometric='rgb', planarconfig='separate')
    tifffile.imwrite(folder / 'int.tif', deep[..., 0].astype(np.int16))
    tifffile.imwrite(folder / 'five.tif', np.repeat(pixels_of()[..., :1], 5, axis=2), photometric='rgb')
    Image.fromarray(np.zeros((20, 31), np.float32)).save(folder / 'float.tif')
    tiffs = {'float.tif': '32 bits', 'int.tif': 'signed integers of 16 bits', 'five.tif': 'has 5 channels'}
    return {**{name: said for name, (_, said) in contents.items()}, **tiffs, 'planar.tif': '(planar)'}


def test_broken_files_say_what_is_wrong(tmp_path):
    for name, said in broken_files(tmp_path).items():
        with pytest.raises(PhotographError) as error:
            read_photograph(tmp_path / name)
        assert said in str(error.value), f'{name}: {error.value}'
    with pytest.raises(PhotographError, match='no such file'):
        read_photograph(tmp_path / 'missing.png')


def test_a_write_that_fails_leaves_the_old_file(tmp_path, monkeypatch):
    (tmp_path / 'a.png').write_bytes(b'old')
    monkeypatch.setattr(Image.Image, 'save', lambda *args, **options: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        write_photograph(tmp_path / 'a.png', Photograph(pixels_of()))
    assert [path.name for path in tmp_path.iterdir()] == ['a.png'] and (tmp_path / 'a.png').read_bytes() == b'old'


# ------------------------------------------------------------------------- what other programs write: right, or refused

KINDS = dict(minisblack=1, miniswhite=1, gray_alpha=2, rgb=3, rgba=4, five=5, separated=4)
EXTRAS = dict(gray_alpha=1, rgba=1, five=2)


def tiff_of(kind, dtype, planar, extra, **options):
    """A TIFF of random pixels as tifffile writes it, in memory, and the pixels, (H, W, C)."""
    array = np.random.default_rng(0).random((24, 37, KINDS[kind]))
    if extra == 'assocalpha':
        array[..., :-1] *= array[..., -1:]
    array = array if dtype == 'float32' else np.rint(array * np.iinfo(dtype).max)
    array = array.astype(dtype)
    stored = array[..., 0] if KINDS[kind] == 1 else np.moveaxis(array, -1, 0) if planar else array
    file = io.BytesIO()
    with tifffile.TiffWriter(file, byteorder=options.pop('byteorder'), bigtiff=options.pop('bigtiff')) as writer:
        writer.write(
            stored,
            photometric=dict(gray_alpha='minisblack', rgba='rgb', five='rgb').get(kind, kind),
            planarconfig=None if KINDS[kind] == 1 else 'separate' if planar else 'contig',
            extrasamples=[extra] + ['unspecified'] * (EXTRAS[kind] - 1) if kind in EXTRAS else None,
            extratags=[(ORIENTATION, 'H', 1, options.pop('orientation'), True)],
            **options,
        )
    file.seek(0)
    return file, array


@settings(deadline=None, max_examples=150)
@with_any(
    kind=st.sampled_from(list(KINDS)),
    dtype=st.sampled_from(['uint8', 'uint16', 'int8', 'int16', 'uint32', 'float32']),
    planar=st.booleans(),
    extra=st.sampled_from(['unspecified', 'assocalpha', 'unassalpha']),
    orientation=st.integers(1, 8),
    byteorder=st.sampled_from('<>'),
    bigtiff=st.booleans(),
    compression=st.sampled_from([None, 'zlib']),
    tile=st.sampled_from([None, (16, 16)]),
)
def test_a_tiff_of_tifffile_is_read_rightly_or_refused(kind, dtype, planar, extra, orientation, **options):
    planar, extra = planar and KINDS[kind] > 1, extra if kind in EXTRAS else None
    file, array = tiff_of(kind, dtype, planar, extra, orientation=orientation, **options)
    try:
        found = read_photograph(file)
    except PhotographError as error:
        usual = kind in ('minisblack', 'rgb') or kind == 'rgba' and extra == 'unassalpha'
        usual &= options['byteorder'] == '<' or not options['bigtiff']  # which Pillow does not know
        assert dtype not in ('uint8', 'uint16') or not usual or planar, f'refused without need: {error}'
        return
    assert dtype in ('uint8', 'uint16') and kind != 'five', 'must be refused'
    turn = TURNS.get(orientation, np.asarray)
    if kind == 'separated':
        array = to_eight_bits(array) if dtype == 'uint8' else (array >> 8).astype(np.uint8)
        wanted = turn(np.asarray(Image.fromarray(array, 'CMYK').convert('RGB')))
        np.testing.assert_array_equal(found.pixels, wanted)
        return
    array = turn(array)
    if kind == 'miniswhite':
        array = np.iinfo(array.dtype).max - array
    colours = array[..., 0] if kind in ('minisblack', 'miniswhite', 'gray_alpha') else array[..., :3]
    if extra == 'assocalpha':
        alpha = np.maximum(array[..., -1], 1).astype(float)
        error = np.abs(found.pixels * (alpha[..., None] / np.iinfo(array.dtype).max) - colours)
        assert found.pixels.dtype == array.dtype and error.max() <= 1.01
    else:
        np.testing.assert_array_equal(found.pixels, colours, strict=True)
    if extra in ('assocalpha', 'unassalpha'):
        np.testing.assert_array_equal(found.alpha, array[..., -1], strict=True)
    else:
        assert found.alpha is None and ('left out' in str(found.notes)) == bool(extra)


def pillow_image(mode):
    image = Image.fromarray(pixels_of())
    if mode in ('LA', 'RGBA'):
        image = image.convert(mode)
        image.putalpha(Image.fromarray(pixels_of(gray=True)))
        return image
    return Image.fromarray(pixels_of(16, gray=True)) if mode == 'I;16' else image.convert(mode)


@pytest.mark.parametrize('mode', ['1', 'L', 'LA', 'P', 'RGB', 'RGBA', 'CMYK', 'I;16', 'I', 'F'])
@pytest.mark.parametrize(
    'kind, options',
    [
        ('PNG', {}),
        ('BMP', {}),
        ('PPM', {}),
        ('WEBP', dict(lossless=True, exact=True)),
        *(('TIFF', dict(compression=name)) for name in (None, 'tiff_lzw', 'tiff_adobe_deflate', 'packbits')),
    ],
    ids=lambda value: value if isinstance(value, str) else (value or {}).get('compression', ''),
)
def test_what_pillow_writes_without_loss_is_read_rightly_or_refused(kind, options, mode):
    given, file = pillow_image(mode), io.BytesIO()
    if mode in ('I', 'F') and kind != 'TIFF' or mode == 'I;16' and kind in ('BMP', 'WEBP'):
        pytest.skip('Pillow converts it to other values, or cannot write it')
    try:
        given.save(file, kind, **options)
    except OSError:
        pytest.skip('Pillow cannot write it')
    if mode in ('I', 'F'):
        with pytest.raises(PhotographError, match='32 bits'):
            read_photograph(file)
        return
    found, wanted = read_photograph(file), given if mode == 'I;16' else given.convert('RGB')
    pixels = found.pixels if mode == 'I;16' or found.pixels.ndim == 3 else np.stack([found.pixels] * 3, axis=2)
    np.testing.assert_array_equal(pixels, np.asarray(wanted), strict=True)
    if mode in ('LA', 'RGBA') and kind not in ('BMP', 'PPM'):  # which hold no alpha
        np.testing.assert_array_equal(found.alpha, np.asarray(given)[..., -1])


def deep_png(pixels, colour_type, transparent=b''):
    """A PNG of 16 bits as the standard says, with a transparent colour."""

    def chunk(name, content):
        return struct.pack('>I', len(content)) + name + content + struct.pack('>I', zlib.crc32(name + content))

    height, width = pixels.shape[:2]
    head = chunk(b'IHDR', struct.pack('>IIBBBBB', width, height, 16, colour_type, 0, 0, 0))
    rows = b''.join(b'\0' + row.astype('>u2').tobytes() for row in pixels)
    body = chunk(b'tRNS', transparent) if transparent else b''
    return b'\x89PNG\r\n\x1a\n' + head + body + chunk(b'IDAT', zlib.compress(rows)) + chunk(b'IEND', b'')


@pytest.mark.parametrize('gray', [False, True], ids=['colour', 'gray'])
def test_a_transparent_colour_of_sixteen_bits_becomes_alpha(gray):
    pixels = pixels_of(16, gray)
    key = pixels[3, 4]
    found = read_photograph(io.BytesIO(deep_png(pixels, 0 if gray else 2, key.byteswap().tobytes())))
    np.testing.assert_array_equal(found.pixels, pixels, strict=True)
    same = pixels == key if gray else (pixels == key).all(axis=2)
    np.testing.assert_array_equal(found.alpha, np.where(same, 0, 65535).astype(np.uint16), strict=True)


@pytest.mark.parametrize('most', [255, 1023, 65535])
@pytest.mark.parametrize('gray', [False, True], ids=['colour', 'gray'])
def test_pgm_and_ppm_of_any_depth_are_read(gray, most):
    stored = (pixels_of(16, gray).astype(int) * most // 65535).astype('u1' if most == 255 else '>u2')
    head = f'{"P5" if gray else "P6"} 31 20 {most}\n'.encode()
    found = read_photograph(io.BytesIO(head + stored.tobytes()))
    white = 255 if most == 255 else 65535
    wanted = np.rint(stored.astype(float) * (white / most))
    assert found.pixels.dtype == (np.uint8 if most == 255 else np.uint16)
    assert np.abs(found.pixels - wanted).max() <= 1


def test_jpeg_2000_of_sixteen_bits(tmp_path):
    Image.fromarray(pixels_of(16, gray=True).repeat(4, 0).repeat(4, 1)).save(tmp_path / 'a.jp2', irreversible=False)
    found = read_photograph(tmp_path / 'a.jp2')
    np.testing.assert_array_equal(found.pixels[::4, ::4], pixels_of(16, gray=True), strict=True)
    whole = (tmp_path / 'a.jp2').read_bytes()
    sizes = whole.index(b'\xff\x4f\xff\x51')
    (tmp_path / 'a.jp2').write_bytes(whole[: sizes + 42] + b'\x8f' + whole[sizes + 43 :])
    with pytest.raises(PhotographError, match='signed'):
        read_photograph(tmp_path / 'a.jp2')


def test_bmp_of_five_and_six_bits_is_no_image_of_sixteen(tmp_path):
    head = struct.pack('<IiiHHIIiiII', 40, 4, 2, 1, 16, 3, 16, 0, 0, 0, 0) + struct.pack('<III', 0xF800, 0x7E0, 0x1F)
    content = b'BM' + struct.pack('<IHHI', 14 + len(head) + 16, 0, 0, 14 + len(head)) + head
    found = read_photograph(io.BytesIO(content + struct.pack('<8H', *[0xF800, 0x7E0, 0x1F, 0xFFFF] * 2)))
    assert found.pixels.tolist() == [[[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 255]]] * 2


@pytest.mark.parametrize('lossless', [True, False])
@pytest.mark.parametrize('frames', [1, 2])
def test_webp_stays_lossless_or_not_whatever_it_carries(tmp_path, lossless, frames):
    pages = [Image.fromarray(pixels_of()) for _ in range(frames)]
    more = dict(save_all=True, append_images=pages[1:]) if frames > 1 else {}
    pages[0].save(tmp_path / 'a.webp', lossless=lossless, icc_profile=SRGB, exif=exif_of(), **more)
    found = read_photograph(tmp_path / 'a.webp')
    assert found.lossless == lossless and found.icc == SRGB
    write_photograph(tmp_path / 'b.webp', found)
    assert np.array_equal(read_photograph(tmp_path / 'b.webp').pixels, found.pixels) == lossless


@pytest.mark.parametrize('suffix', ['png', 'tif', 'jpg', 'webp'])
@pytest.mark.parametrize('orientation', [1, 3, 6])
def test_pixels_as_they_are_stored(tmp_path, suffix, orientation):
    stored = np.full((24, 40, 3), 0, np.uint8)
    stored[:8, :8] = 255
    Image.fromarray(stored).save(tmp_path / f'a.{suffix}', exif=exif_of(orientation=orientation))
    found = read_rgb(tmp_path / f'a.{suffix}', upright=False)
    assert found.shape == stored.shape and np.abs(found.astype(int) - stored).mean() < 3


# ----------------------------------------------------------------------------------------------------------- finding


def test_images_of_a_folder_are_found_once_and_links_are_followed(tmp_path, capsys):
    folder, elsewhere = tmp_path / 'in', tmp_path / 'elsewhere'
    for name in ('b.png', 'a/z.JPG', 'a/.b.png', '.hidden/c.png', 'out/d.png', 'notes.txt', 'raw.nef'):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    elsewhere.mkdir()
    (elsewhere / 'e.png').touch()
    (elsewhere / 'back').symlink_to(folder)
    for name, target in dict(link=elsewhere, more=elsewhere, loop=folder, above=tmp_path, inside=folder / 'a').items():
        (folder / name).symlink_to(target)
    found = images_in(folder, leave_out=folder / 'out')
    assert [str(path.relative_to(folder)) for path in found] == ['a/z.JPG', 'b.png', 'link/e.png', 'raw.nef']
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 5 and all('is searched already' in line for line in said)
    assert [path.name for path in images_in(folder / 'a', TRAINING_SUFFIXES)] == ['z.JPG']
    assert images_in(folder / 'out', TRAINING_SUFFIXES)[0].name == 'd.png'


@pytest.mark.parametrize('tags', [{254: 1}, {50706: b'\1\4\0\0'}])
def test_the_preview_in_a_raw_file_of_a_camera_is_no_photograph(tmp_path, tags):
    directory = TiffImagePlugin.ImageFileDirectory_v2()
    for tag, value in tags.items():
        directory.tagtype[tag] = TiffTags.BYTE if isinstance(value, bytes) else TiffTags.LONG
        directory[tag] = value
    Image.new('RGB', (16, 12)).save(tmp_path / 'photo.dng', 'TIFF', tiffinfo=directory)
    with pytest.raises(PhotographError, match='is a raw file of a camera, of which a preview would be read'):
        read_photograph(tmp_path / 'photo.dng')


def test_a_folder_that_cannot_be_read_is_named(tmp_path, monkeypatch, capsys):
    for name in ('closed', 'open'):
        (tmp_path / name).mkdir()
        (tmp_path / name / 'a.png').touch()
    scandir = os.scandir

    def refusing(path):
        if Path(path).name == 'closed':
            raise PermissionError(13, 'Permission denied', str(path))
        return scandir(path)

    monkeypatch.setattr(os, 'scandir', refusing)
    assert images_in(tmp_path) == [tmp_path / 'open' / 'a.png']
    assert f'{tmp_path}/closed is skipped: Permission denied' in capsys.readouterr().err


# ------------------------------------------------------------------------------------- strangers' files and EXIF data


def test_only_formats_of_images_are_opened_whatever_the_name(tmp_path, monkeypatch):
    """Pillow hands an EPS to Ghostscript, which is a language with access to files."""
    monkeypatch.setattr(EpsImagePlugin, 'Ghostscript', lambda *args, **options: pytest.fail('Ghostscript was called'))
    (tmp_path / 'a.png').write_bytes(EPS)
    assert Image.open(tmp_path / 'a.png').format == 'EPS'
    with pytest.raises(PhotographError, match='no image of a format that is read'):
        read_photograph(tmp_path / 'a.png')


def test_nothing_but_the_reader_opens_images():
    package = Path(mmsampriors.__file__).resolve().parent
    files = [*package.rglob('*.py'), *(package.parent / 'tools').rglob('*.py')]
    found = {path.name for path in files if re.search(r'\bImage\.open\(|MAX_IMAGE_PIXELS\s*=[^=]', path.read_text())}
    assert len(files) > 100 and not found


@pytest.mark.parametrize('suffix', ['png', 'jpg', 'mpo', 'tif', 'webp', 'bmp', 'gif', 'ppm', 'avif', 'jp2'])
def test_the_bound_of_pixels_is_our_own_and_changes_nothing_in_pillow(tmp_path, monkeypatch, suffix):
    path = tmp_path / f'a.{suffix}'
    Image.fromarray(pixels_of()).save(path)
    monkeypatch.setattr(Image, 'MAX_IMAGE_PIXELS', 10)
    with pytest.raises(Image.DecompressionBombError):
        Image.open(path)
    seen, stop = set(), threading.Event()

    def watch():
        while not stop.is_set():
            seen.add(Image.MAX_IMAGE_PIXELS)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        for _ in range(9):
            assert read_photograph(path).pixels.shape == (20, 31, 3)
    finally:
        stop.set()
        watcher.join()
    assert seen == {10}
    with pytest.raises(PhotographError, match='31 by 20 pixels'):
        read_photograph(path, most_pixels=600)
    with pytest.raises(PhotographError), open_image(path, most_pixels=600):
        pass


@pytest.mark.parametrize('suffix', ['jpg', 'png', 'tif', 'webp'])
def test_a_mistyped_exif_tag_is_left_out_and_named(tmp_path, suffix):
    """Text where a ratio belongs, text as orientation: the photograph is restored without them."""
    entries = [(MAKE, 2, b'Maker\0'), (ORIENTATION, 2, b'up\0\0'), (0x011A, 2, b'fine\0')]
    head, tail = b'II*\0' + struct.pack('<IH', 8, len(entries)), b''
    for tag, kind, value in sorted(entries):
        offset = 8 + 2 + 12 * len(entries) + 4 + len(tail)
        inline = len(value) <= 4
        head += struct.pack('<HHI', tag, kind, len(value)) + (value if inline else struct.pack('<I', offset))
        tail += b'' if inline else value
    exif = b'Exif\0\0' + head + bytes(4) + tail
    pixels, path = pixels_of(), tmp_path / f'a.{suffix}'
    if suffix == 'tif':
        tags = [(0x011A, 's', 0, 'fine', True), (MAKE, 's', 0, 'Maker', True)]
        tifffile.imwrite(path, pixels, photometric='rgb', resolution=None, extratags=tags)
    else:
        Image.fromarray(pixels).save(path, exif=exif, **dict(webp=dict(lossless=True)).get(suffix, {}))
    found = read_photograph(path)
    assert found.exif[MAKE] == 'Maker'
    write_photograph(tmp_path / f'b.{suffix}', found)
    assert read_photograph(tmp_path / f'b.{suffix}').exif[MAKE] == 'Maker'
    if suffix != 'tif':
        assert 'XResolution' in found.notes[0] and 'Orientation' in found.notes[0]


def test_a_png_with_a_damaged_pixel_stream_is_no_photograph(tmp_path):
    """Pillow reads the pixels when it looks for EXIF data; the error was taken for one of these, and the rest black."""
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)).save(tmp_path / 'a.png')
    content = bytearray((tmp_path / 'a.png').read_bytes())
    for index in range(200, 230):
        content[index] ^= 0xFF
    (tmp_path / 'a.png').write_bytes(content)
    with pytest.raises(PhotographError, match='cut off or damaged'):
        read_photograph(tmp_path / 'a.png')


def test_a_png_of_much_text_is_refused_in_our_words(tmp_path):
    for size, count in ((2**21, 1), (2**20 - 1, 70)):
        text = PngInfo()
        for _ in range(count):
            text.add_text('Comment', 'x' * size, zip=True)
        Image.new('RGB', (9, 9)).save(tmp_path / 'a.png', pnginfo=text)
        with pytest.raises(PhotographError, match='carries more text than the 64 MiB, 1 of them in one piece'):
            read_photograph(tmp_path / 'a.png')


@pytest.mark.parametrize('dtype, peak', [(np.uint8, 255), (np.uint16, 65535), (np.float32, 1)])
def test_psnr_is_that_of_scikit_image(dtype, peak):
    one, other = (np.random.default_rng(seed).random((9, 8, 3)) * peak for seed in (0, 1))
    one, other = one.astype(dtype), other.astype(dtype)
    assert psnr(one, other, peak) == pytest.approx(peak_signal_noise_ratio(one, other, data_range=peak))
    assert psnr(one, one) == float('inf')


def test_a_tiff_that_pillow_does_not_read_says_what_it_holds(tmp_path):
    tifffile.imwrite(tmp_path / 'a.tif', np.zeros((9, 9, 3), np.float32), photometric='rgb')
    with pytest.raises(PhotographError, match='floating point colours, .*expected unsigned integers of 8 or 16 bits'):
        read_photograph(tmp_path / 'a.tif')
    Image.new('YCbCr', (9, 9)).save(tmp_path / 'b.tif')
    with pytest.raises(PhotographError, match='YCbCr without compression'):
        read_photograph(tmp_path / 'b.tif')

"""Photographs as people have them, and the broken ones."""

import numpy as np
import PIL
import pytest
from PIL import Image, ImageCms

from mmsampriors.restoring.photographs import Photograph, PhotographError, read_photograph, write_photograph

EXIF_DIRECTORY, GPS_DIRECTORY, ORIENTATION, MAKE, EXPOSURE = 0x8769, 0x8825, 0x0112, 0x010F, 0x829A
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


def test_jpeg_keeps_what_belongs_to_it_and_nearly_all_of_the_pixels(tmp_path, noisy):
    write_photograph(tmp_path / 'a.jpg', Photograph(noisy[1], None, exif_of(), SRGB))
    found = read_photograph(tmp_path / 'a.jpg')
    assert np.abs(found.pixels.astype(int) - noisy[1]).mean() < 2
    assert found.icc == SRGB and found.exif.get_ifd(EXIF_DIRECTORY)[EXPOSURE] == pytest.approx(0.01)
    assert not found.lossless


def test_what_a_format_cannot_hold_is_said(tmp_path):
    given = Photograph(pixels_of(16), pixels_of(16)[..., 0])
    assert write_photograph(tmp_path / 'a.jpg', given) == [
        'JPEG holds 8 bits, not 16',
        'JPEG holds no alpha: left out',
    ]
    assert read_photograph(tmp_path / 'a.jpg').pixels.dtype == np.uint8


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
    """Ten files that are no photographs, with a part of what is said of them."""
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
    }
    for name, (content, _) in contents.items():
        (folder / name).write_bytes(content)
    Image.fromarray(np.zeros((20, 31), np.float32)).save(folder / 'float.tif')
    return {**{name: said for name, (_, said) in contents.items()}, 'float.tif': '32 bits'}


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

"""The Restorer with all that it takes, and networks that have too little memory."""

import numpy as np
import pytest
import torch
from PIL import ExifTags, Image
from test_images import EXIF_DIRECTORY, EXPOSURE, SRGB, exif_of

import mmsampriors
from mmsampriors import Restorer
from mmsampriors.images import Photograph, read_photograph, write_photograph
from mmsampriors.inference import restorer as module
from mmsampriors.inference.tiles import OutOfMemoryError


@pytest.fixture
def restorer(halving, monkeypatch):
    """A function that makes a Restorer around a network that halves."""

    def make(channels=3, most_pixels=float('inf'), scale=1, **options):
        monkeypatch.setattr(module, '_network', lambda *args: halving(channels, most_pixels, scale))
        return Restorer('any.pth', **options)

    return make


def test_each_kind_of_image_comes_back_as_its_kind(restorer, tmp_path):
    restorer, pixels = restorer(), np.full((20, 30, 3), 100, np.uint8)
    for dtype, full in ((np.uint8, 100), (np.uint16, 25700), (np.float32, 100 / 255)):
        for shape in ((20, 30), (20, 30, 3), (2, 20, 30, 3), (0, 20, 30, 3)):
            restored = restorer.restore(np.full(shape, full, dtype))
            assert restored.dtype == dtype and restored.shape == shape
            np.testing.assert_allclose(restored, full / 2, rtol=1e-5)
    Image.fromarray(pixels).save(tmp_path / 'a.png')
    for path in (tmp_path / 'a.png', str(tmp_path / 'a.png')):
        assert np.array_equal(restorer.restore(path), pixels // 2)
    several = restorer.restore([Image.fromarray(pixels), pixels, tmp_path / 'a.png'])
    assert isinstance(several[0], Image.Image) and all(np.array_equal(one, pixels // 2) for one in several)


def test_bytes_in_the_other_order(restorer):
    assert (restorer().restore(np.full((20, 30), 1000, '>u2')) == 500).all()


def test_alpha_is_kept(restorer, tmp_path):
    image = np.full((20, 30, 4), 100, np.uint8)
    expected = np.concatenate([image[..., :3] // 2, image[..., 3:]], axis=2)
    assert np.array_equal(restorer().restore(image), expected)
    assert np.array_equal(restorer().restore(Image.fromarray(image)), expected)
    Image.fromarray(image).save(tmp_path / 'a.png')
    assert np.array_equal(restorer().restore(tmp_path / 'a.png'), expected)
    gray = np.stack([np.full((20, 30), 80, np.uint8), np.arange(600, dtype=np.uint16).reshape(20, 30) % 256], axis=2)
    Image.fromarray(gray.astype(np.uint8)).save(tmp_path / 'gray.png')
    restored = restorer().restore(tmp_path / 'gray.png')
    assert restored.shape == (20, 30, 4) and (restored[..., :3] == 40).all()
    assert np.array_equal(restored[..., 3], gray[..., 1])


@pytest.mark.parametrize('suffix', ['png', 'tif', 'webp', 'jpg'])
@pytest.mark.parametrize('bits', [8, 16])
def test_what_belongs_to_a_photograph_is_enlarged_with_it(restorer, tmp_path, suffix, bits):
    """Also of a photograph that is stored turned: its EXIF data say its size as it is stored."""
    exif, white = exif_of(orientation=6), 2**bits - 1
    exif.get_ifd(EXIF_DIRECTORY).update({ExifTags.Base.ExifImageWidth: 30, ExifTags.Base.ExifImageHeight: 20})
    dtype = np.uint8 if bits == 8 else np.uint16
    pixels, alpha = np.full((20, 30, 3), white // 2, dtype), np.full((20, 30), white, dtype)
    alpha[:, 15:] = 0
    write_photograph(tmp_path / f'a.{suffix}', Photograph(pixels, alpha, exif, SRGB))
    given = read_photograph(tmp_path / f'a.{suffix}')
    write_photograph(tmp_path / f'b.{suffix}', restorer(scale=3).restore_photograph(given))
    found = read_photograph(tmp_path / f'b.{suffix}')
    assert found.pixels.shape[:2] == (90, 60) and found.pixels.dtype == given.pixels.dtype and found.icc == SRGB
    tags = found.exif.get_ifd(EXIF_DIRECTORY)
    assert (tags[ExifTags.Base.ExifImageWidth], tags[ExifTags.Base.ExifImageHeight]) == (60, 90)
    assert tags[EXPOSURE] == pytest.approx(0.01)
    assert given.exif.get_ifd(EXIF_DIRECTORY)[ExifTags.Base.ExifImageWidth] == 30, 'the photograph stays as it was'
    if suffix != 'jpg':
        assert found.alpha.dtype == found.pixels.dtype and found.alpha.shape == (90, 60)
        assert (found.alpha[:36] == np.iinfo(found.alpha.dtype).max).all() and not found.alpha[54:].any()


def test_arrays_become_larger_by_the_scale_of_the_network(restorer):
    for shape in ((20, 30), (20, 30, 3), (20, 30, 4), (2, 20, 30, 3), (150, 100, 3)):
        restored = restorer(scale=4, tile=64).restore(np.full(shape, 100, np.uint8))
        expected = np.full([side if side < 20 else 4 * side for side in shape], 50)
        if shape[-1] == 4:
            expected[..., 3] = 100
        assert np.array_equal(restored, expected)


def test_a_gray_network_makes_colour_gray(restorer):
    image = np.zeros((20, 30, 3), np.uint8)
    image[..., 1] = 200
    assert np.array_equal(restorer(channels=1).restore(image), np.full((20, 30), round(200 * 0.587) / 2 // 1, np.uint8))


@pytest.mark.parametrize('given', [None, 3, b'a.png', {}])
def test_what_is_no_image_and_what_is_no_path(restorer, given):
    with pytest.raises(ValueError, match=f'expected a path, .* found {type(given).__name__}'):
        restorer().restore(given)


def test_what_is_no_path_of_a_student():
    with pytest.raises(ValueError, match='student must be the path of a file, found int'):
        Restorer(3)
    with pytest.raises(FileNotFoundError, match='there is no student none.pth'):
        Restorer('none.pth')
    with pytest.raises(FileNotFoundError, match='there is no config none.py'):
        Restorer(config='none.py', checkpoint='none.pth')


def test_a_network_that_memory_does_not_hold_is_named(tmp_path):
    (tmp_path / 'wide.py').write_text(
        "model = dict(type='BaseEditModel', generator=dict(type='NAFNet', mid_channels=400000))"
    )
    torch.save({'generator.intro.weight': torch.zeros(1)}, tmp_path / 'wide.pth')
    with pytest.raises(ValueError, match='memory does not hold the network .*wide.pth'):
        Restorer(tmp_path / 'wide.pth')


@pytest.mark.parametrize('size', [(1, 1), (5, 7), (3, 200)])
def test_tiny_images(restorer, size):
    assert restorer().restore(np.full((*size, 3), 100, np.uint8)).shape == (*size, 3)


def test_out_of_memory_halves_the_tile_for_this_image_and_the_next(restorer):
    restorer, reports, shares = restorer(most_pixels=120 * 120), [], []
    restorer.report = reports.append
    image = np.full((300, 400, 3), 100, np.uint8)
    assert np.array_equal(restorer.restore_pixels(image, shares.append), image // 2)
    assert [text.split()[-2] for text in reports] == ['192', '96'] and sum(shares) == pytest.approx(1)
    restorer.network.seen.clear()
    restorer.restore(image)
    assert max(restorer.network.seen) <= (112, 112) and len(reports) == 2


def test_a_tile_that_is_named_and_does_not_fit_is_tried_once(restorer):
    restorer, reports = restorer(most_pixels=120 * 120, tile=256), []
    restorer.report = reports.append
    for _ in range(2):
        restorer.restore(np.full((300, 400, 3), 100, np.uint8))
    assert len(reports) == 2 and max(restorer.network.seen[-4:]) <= (112, 112)


def test_an_overlap_that_small_tiles_cannot_hold_is_said(restorer):
    restorer, reports = restorer(most_pixels=70 * 70, tile=256, overlap=100), []
    restorer.report = reports.append
    restorer.restore(np.full((300, 400, 3), 100, np.uint8))
    assert 'tiles of 64 pixels overlap by half, not by 100 pixels: memory is short' in reports


def test_no_memory_at_all_is_an_error_that_says_so(restorer):
    with pytest.raises(OutOfMemoryError, match='not even tiles of 64'):
        restorer(most_pixels=10).restore(np.zeros((300, 400, 3), np.uint8))
    with pytest.raises(RuntimeError, match='allocate'):
        restorer(most_pixels=10, tile='off').restore(np.zeros((300, 400, 3), np.uint8))


def test_tile_that_is_named_is_used(restorer):
    restorer = restorer(tile=96, overlap=16)
    restorer.restore(np.zeros((200, 96, 3), np.uint8))
    assert set(restorer.network.seen) == {(96, 96), (88, 96)} and len(restorer.network.seen) == 3


@pytest.mark.parametrize(
    'arguments, said',
    [
        (dict(), 'either a student, or a config'),
        (dict(student='a.pth', config='b.py', checkpoint='c.pth'), 'either a student, or a config'),
        (dict(config='b.py'), 'either a student, or a config'),
        (dict(student='a.onnx', amp=True), 'export it with --fp16'),
        (dict(student='a.txt'), 'found a.txt'),
        (dict(student='a.pth', tile=10), 'at least 64'),
        (dict(student='a.pth', tile=128, overlap=100), 'half the tile'),
    ],
)
def test_arguments_that_contradict_each_other(arguments, said):
    with pytest.raises(ValueError, match=said):
        Restorer(**arguments)


@pytest.mark.parametrize(
    'image, said',
    [
        (np.zeros((20, 30, 2), np.uint8), r'\(20, 30, 2\)'),
        (np.zeros((0, 30, 3), np.uint8), r'\(0, 30, 3\)'),
        (np.zeros((20, 30), np.int64), 'int64'),
        (np.full((20, 30), 100.0), '100.0'),
    ],
)
def test_arrays_of_other_kinds_are_refused(restorer, image, said):
    with pytest.raises(ValueError, match=said):
        restorer().restore(image)


def test_other_names_of_the_package_are_still_errors():
    with pytest.raises(AttributeError, match='no_such_name'):
        mmsampriors.no_such_name

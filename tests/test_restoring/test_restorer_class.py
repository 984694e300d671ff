"""The Restorer with all that it takes, and networks that have too little memory."""

import numpy as np
import pytest
from PIL import Image

import mmsampriors
from mmsampriors import Restorer
from mmsampriors.restoring import restorer as module
from mmsampriors.restoring.tiles import OutOfMemoryError


@pytest.fixture
def restorer(halving, monkeypatch):
    """A function that makes a Restorer around a network that halves."""

    def make(channels=3, most_pixels=float('inf'), **options):
        monkeypatch.setattr(module, '_network', lambda *args: halving(channels, most_pixels))
        return Restorer('any.pth', **options)

    return make


def test_each_kind_of_image_comes_back_as_its_kind(restorer, tmp_path):
    restorer, pixels = restorer(), np.full((20, 30, 3), 100, np.uint8)
    for dtype, full in ((np.uint8, 100), (np.uint16, 25700), (np.float32, 100 / 255)):
        for shape in ((20, 30), (20, 30, 3), (2, 20, 30, 3)):
            restored = restorer.restore(np.full(shape, full, dtype))
            assert restored.dtype == dtype and restored.shape == shape
            np.testing.assert_allclose(restored, full / 2, rtol=1e-5)
    Image.fromarray(pixels).save(tmp_path / 'a.png')
    for path in (tmp_path / 'a.png', str(tmp_path / 'a.png')):
        assert np.array_equal(restorer.restore(path), pixels // 2)
    several = restorer.restore([Image.fromarray(pixels), pixels, tmp_path / 'a.png'])
    assert isinstance(several[0], Image.Image) and all(np.array_equal(one, pixels // 2) for one in several)


def test_alpha_is_kept(restorer, tmp_path):
    image = np.full((20, 30, 4), 100, np.uint8)
    expected = np.concatenate([image[..., :3] // 2, image[..., 3:]], axis=2)
    assert np.array_equal(restorer().restore(image), expected)
    assert np.array_equal(restorer().restore(Image.fromarray(image)), expected)
    Image.fromarray(image).save(tmp_path / 'a.png')
    assert np.array_equal(restorer().restore(tmp_path / 'a.png'), expected)


def test_a_gray_network_makes_colour_gray(restorer):
    image = np.zeros((20, 30, 3), np.uint8)
    image[..., 1] = 200
    assert np.array_equal(restorer(channels=1).restore(image), np.full((20, 30), round(200 * 0.587) / 2 // 1, np.uint8))


@pytest.mark.parametrize('size', [(1, 1), (5, 7), (3, 200)])
def test_tiny_images(restorer, size):
    assert restorer().restore(np.full((*size, 3), 100, np.uint8)).shape == (*size, 3)


def test_out_of_memory_halves_the_tile_for_this_image_and_the_next(restorer):
    restorer, told, shares = restorer(most_pixels=120 * 120), [], []
    restorer.tell = told.append
    image = np.full((300, 400, 3), 100, np.uint8)
    assert np.array_equal(restorer.restore_pixels(image, shares.append), image // 2)
    assert [text.split()[-2] for text in told] == ['192', '96'] and sum(shares) == pytest.approx(1)
    restorer.network.seen.clear()
    restorer.restore(image)
    assert max(restorer.network.seen) <= (112, 112) and len(told) == 2


def test_no_memory_at_all_is_an_error_that_says_so(restorer):
    with pytest.raises(OutOfMemoryError, match='not even tiles of 64'):
        restorer(most_pixels=10).restore(np.zeros((300, 400, 3), np.uint8))
    with pytest.raises(RuntimeError, match='allocate'):
        restorer(most_pixels=10, tile='off').restore(np.zeros((300, 400, 3), np.uint8))


def test_tile_that_is_named_is_used(restorer):
    restorer = restorer(tile=96, overlap=16)
    restorer.restore(np.zeros((200, 96, 3), np.uint8))
    assert set(restorer.network.seen) <= {(96, 96), (104, 96)} and len(restorer.network.seen) == 3


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

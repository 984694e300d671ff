"""Files that people give to the page, good and bad."""

import numpy as np
import pytest
from PIL import Image

from mmsampriors.demo.scene import SAMPLES, open_photograph, sample, thumbnails
from mmsampriors.images import Photograph, PhotographError, write_photograph

LIMIT = 10**6


def test_all_kinds_become_eight_bits_rgb(tmp_path):
    colour = sample('coffee')[:40, :60]
    write_photograph(tmp_path / 'alpha.png', Photograph(colour, colour[..., 0]))
    write_photograph(tmp_path / 'deep.png', Photograph(colour.astype(np.uint16) * 257))
    write_photograph(tmp_path / 'gray.png', Photograph(colour[..., 1]))
    for name in ('alpha', 'deep'):
        assert (open_photograph(tmp_path / f'{name}.png', LIMIT) == colour).all()
    assert (open_photograph(tmp_path / 'gray.png', LIMIT) == colour[..., [1, 1, 1]]).all()


def test_turned_upright(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(sample('coffee')[:40, :60]).save(tmp_path / 'turned.png', exif=exif)
    assert open_photograph(tmp_path / 'turned.png', LIMIT).shape == (60, 40, 3)


def write_bad_files(folder):
    """Name to what the message must say."""
    Image.fromarray(sample('coffee')).save(folder / 'whole.png')
    (folder / 'cut.png').write_bytes((folder / 'whole.png').read_bytes()[:20000])
    (folder / 'text.jpg').write_text('no picture at all')
    (folder / 'empty.png').write_bytes(b'')
    return {
        'cut.png': 'cut off or damaged',
        'text.jpg': 'is no image of a format that is read',
        'empty.png': 'the file is empty',
        'missing.png': 'there is no such file',
    }


def test_bad_files_are_reported(tmp_path):
    for name, message in write_bad_files(tmp_path).items():
        with pytest.raises(PhotographError, match=message):
            open_photograph(tmp_path / name, LIMIT)


def test_too_many_pixels_are_refused_before_they_are_read(tmp_path, monkeypatch):
    Image.new('L', (5000, 4000)).save(tmp_path / 'large.png')
    monkeypatch.setattr(Image.Image, 'load', lambda *args: pytest.fail('read'))
    with pytest.raises(PhotographError, match='has 5000 by 4000 pixels, and 1 million are allowed: make it smaller'):
        open_photograph(tmp_path / 'large.png', LIMIT)


def test_samples_are_there():
    small = thumbnails(32)
    assert list(small) == list(SAMPLES)
    for name in SAMPLES:
        assert sample(name).ndim == 3 and sample(name).dtype == np.uint8 and small[name].shape == (32, 32, 3)

import os

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmsampriors.data_preparation.crops import crop_starts, cut_crops
from mmsampriors.data_preparation.pairs import PairError


@given(st.integers(1, 60), st.integers(0, 200), st.data())
def test_crops_cover_a_side_and_overlap_enough(size, more, data):
    overlap = data.draw(st.integers(0, size - 1))
    length = size + more
    starts = crop_starts(length, size, overlap)
    assert starts[0] == 0 and starts[-1] == length - size and starts == sorted(set(starts))
    assert all(after - before <= size - overlap for before, after in zip(starts, starts[1:]))


def test_places_are_those_of_the_published_gopro_crops():
    assert crop_starts(1280, 512, 256) == [0, 256, 512, 768] and crop_starts(720, 512, 256) == [0, 208]


def write(path, image):
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), image)
    return path


@pytest.fixture
def pair(tmp_path):
    image = np.random.default_rng(0).integers(256, size=(50, 70, 3), dtype=np.uint8)
    lq, gt = write(tmp_path / 'raw/lq/a.png', image), write(tmp_path / 'raw/gt/a.png', 255 - image)
    return image, {'lq/{}.png': lq, 'gt/{}_GT.png': gt}


def test_pairs_are_cut_at_the_same_places_and_a_second_run_keeps_them(pair, tmp_path):
    image, files = pair
    assert cut_crops(dict(a=files), tmp_path / 'out', size=40, overlap=10, workers=2) == 1
    crops = sorted(path.name for path in (tmp_path / 'out/lq').iterdir())
    assert crops == ['a_s001.png', 'a_s002.png', 'a_s003.png', 'a_s004.png']
    for number, (y, x) in enumerate(((0, 0), (0, 30), (10, 0), (10, 30)), 1):
        lq = cv2.imread(str(tmp_path / f'out/lq/a_s00{number}.png'))
        gt = cv2.imread(str(tmp_path / f'out/gt/a_s00{number}_GT.png'))
        np.testing.assert_array_equal(lq, image[y : y + 40, x : x + 40])
        np.testing.assert_array_equal(gt, 255 - lq)
    (tmp_path / 'out/lq/a_s002.png').unlink()
    part = tmp_path / 'out/gt/.a_s001_GT.png.1a2b.part'
    part.write_bytes(b'half')
    os.utime(part, (0, 0))  # of a killed run
    kept = (tmp_path / 'out/gt/a_s004_GT.png').stat().st_mtime_ns
    cut_crops(dict(a=files), tmp_path / 'out', size=40, overlap=10)
    assert (tmp_path / 'out/lq/a_s002.png').exists() and not list((tmp_path / 'out').rglob('*.part'))
    assert (tmp_path / 'out/gt/a_s004_GT.png').stat().st_mtime_ns == kept
    with pytest.raises(PairError, match='was made with other settings'):
        cut_crops(dict(a=files), tmp_path / 'out', size=41, overlap=10)


@pytest.mark.parametrize('content', ['', '{"size": 40', '[1]', '"text"'])
def test_a_damaged_record_is_named(pair, tmp_path, content):
    cut_crops(dict(a=pair[1]), tmp_path / 'out', size=40, overlap=10)
    (tmp_path / 'out' / 'crops.json').write_text(content)
    with pytest.raises(PairError, match=r'crops\.json is damaged'):
        cut_crops(dict(a=pair[1]), tmp_path / 'out', size=40, overlap=10)


@pytest.mark.parametrize('settings', [dict(size=0), dict(size=51), dict(size=40, whole_up_to=50)])
def test_small_images_stay_whole(pair, tmp_path, settings):
    image, files = pair
    cut_crops(dict(a=files), tmp_path / 'out', overlap=10, **settings)
    np.testing.assert_array_equal(cv2.imread(str(tmp_path / 'out/lq/a.png')), image)
    assert len(list((tmp_path / 'out').rglob('*.png'))) == 2


def test_bad_images_are_named_when_all_others_are_done(pair, tmp_path):
    files = pair[1]
    small = write(tmp_path / 'raw/small.png', np.zeros((9, 9, 3), np.uint8))
    torn = tmp_path / 'raw/torn.png'
    torn.write_bytes(small.read_bytes()[:50])
    images = dict(torn={'lq/{}.png': torn}, b={'lq/{}.png': files['lq/{}.png'], 'gt/{}.png': small}, c=files)
    message = r'2 of 3 photographs(.|\n)*b: its images have different sizes: .*70x50, .*9x9(.|\n)*torn: '
    with pytest.raises(PairError, match=message):
        cut_crops(images, tmp_path / 'out', size=40, overlap=10)
    assert len(list((tmp_path / 'out').rglob('*.png'))) == 8

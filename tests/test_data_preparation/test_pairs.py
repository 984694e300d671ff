import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from mmsampriors.data_preparation.degradations import (
    BlurSettings,
    NoiseSettings,
    Settings,
    add_blur,
    add_noise,
    setting,
)
from mmsampriors.data_preparation.pairs import PairError, make_pairs
from mmsampriors.images import read_rgb, to_unit

PHOTOGRAPH = np.random.default_rng(0).integers(256, size=(24, 32, 3), dtype=np.uint8)


@dataclass(frozen=True, kw_only=True)
class DarkSettings(Settings):
    factor: float = setting(0.5, 0, 1, 'share of the light that is left')


def darken(image, rng, factor):
    return image * np.float32(factor)


def save(path, array=PHOTOGRAPH):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)


@pytest.fixture
def source(tmp_path):
    for name in ('a.png', 'b.png', 'nested/deep/c.png'):
        save(tmp_path / 'photographs' / name)
    return tmp_path / 'photographs'


def contents(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob('*.png'))}


def test_makes_mmagics_layout_of_flat_names(source, tmp_path):
    assert make_pairs(source, tmp_path / 'out', darken, DarkSettings()) == 3
    assert sorted(contents(tmp_path / 'out')) == [
        f'{half}/{name}.png' for half in ('input', 'target') for name in ('a', 'b', 'nested_deep_c')
    ]
    target = np.asarray(Image.open(tmp_path / 'out/target/a.png'))
    np.testing.assert_array_equal(target, PHOTOGRAPH)
    degraded = np.asarray(Image.open(tmp_path / 'out/input/a.png'))
    np.testing.assert_array_equal(degraded, (PHOTOGRAPH / 255 * 0.5 * 255).round().astype(np.uint8))


def test_a_pair_depends_on_seed_and_name_only(source, tmp_path):
    make_pairs(source, tmp_path / 'one', add_noise, NoiseSettings(), workers=1)
    make_pairs(source, tmp_path / 'many', add_noise, NoiseSettings(), workers=3)
    make_pairs(source, tmp_path / 'other', add_noise, NoiseSettings(), seed=1)
    one, other = contents(tmp_path / 'one'), contents(tmp_path / 'other')
    assert one == contents(tmp_path / 'many')
    assert all(one[name] != other[name] for name in one if name.startswith('input'))
    assert one['input/a.png'] != one['input/b.png'], 'equal photographs must get their own noise'
    (source / 'a.png').unlink()
    make_pairs(source, tmp_path / 'fewer', add_noise, NoiseSettings())
    assert contents(tmp_path / 'fewer').items() < one.items()


def test_finished_pairs_are_kept_and_halves_are_made_again(source, tmp_path):
    out = tmp_path / 'out'
    make_pairs(source, out, darken, DarkSettings())
    whole = contents(out)
    (out / 'input/b.png').unlink()
    for name, age in (('.b.png.part', 4000), ('.c.png.part', 0)):  # of a killed run, and of one that is going on
        (out / 'input' / name).write_bytes(b'half')
        os.utime(out / 'input' / name, (time.time() - age,) * 2)
    (out / 'input/a.png').write_bytes(b'finished earlier')
    make_pairs(source, out, darken, DarkSettings())
    assert contents(out) == {**whole, 'input/a.png': b'finished earlier'}
    assert list(out.rglob('.*')) == [out / 'input/.c.png.part']


def test_the_pair_of_a_changed_photograph_is_made_anew_and_that_of_one_that_is_gone_is_refused(source, tmp_path):
    out = tmp_path / 'out'
    make_pairs(source, out, darken, DarkSettings())
    before = contents(out)
    save(source / 'a.png', PHOTOGRAPH[::-1])
    moved = tmp_path / 'b.png'
    save(moved, PHOTOGRAPH[:, ::-1])
    os.utime(moved, (0, 0))
    moved.replace(source / 'b.png')
    make_pairs(source, out, darken, DarkSettings())
    after = contents(out)
    assert {name for name in after if after[name] != before[name]} == {
        f'{half}/{name}.png' for half in ('input', 'target') for name in 'ab'
    }
    np.testing.assert_array_equal(read_rgb(out / 'target/a.png'), PHOTOGRAPH[::-1])
    (source / 'a.png').unlink()
    with pytest.raises(PairError, match='1 pairs in .*out are of photographs that are gone, such as .*input/a.png'):
        make_pairs(source, out, darken, DarkSettings())
    assert contents(out) == after


@pytest.mark.parametrize(
    'change, named',
    [
        (dict(seed=3), 'seed: 0 then, 3 now'),
        (dict(settings=DarkSettings(factor=(0.1, 0.2))), r'factor: 0.5 then, \[0.1, 0.2\] now'),
        (dict(degrade=add_noise, settings=NoiseSettings()), 'degradation: darken then, add_noise now'),
    ],
)
def test_other_settings_than_those_of_the_folder_are_refused(source, tmp_path, change, named):
    settings = dict(degrade=darken, settings=DarkSettings(), seed=0)
    make_pairs(source, tmp_path / 'out', **settings)
    before = contents(tmp_path / 'out')
    with pytest.raises(PairError, match=named):
        make_pairs(source, tmp_path / 'out', **{**settings, **change})
    assert contents(tmp_path / 'out') == before


def test_folders_of_unknown_origin_are_refused(source, tmp_path):
    save(tmp_path / 'out/input/x.png')
    with pytest.raises(PairError, match='no pairs.json'):
        make_pairs(source, tmp_path / 'out', darken, DarkSettings())
    make_pairs(source, tmp_path / 'other', darken, DarkSettings())
    (tmp_path / 'other/pairs.json').write_text('{"seed"')
    with pytest.raises(PairError, match='pairs.json is damaged'):
        make_pairs(source, tmp_path / 'other', darken, DarkSettings())


def test_record_says_what_made_the_folder(source, tmp_path):
    make_pairs(source, tmp_path / 'out', darken, DarkSettings(), seed=4)
    assert json.loads((tmp_path / 'out/pairs.json').read_text()) == dict(
        degradation='darken', source=str(source), seed=4, factor=0.5
    )


def test_missing_empty_and_enclosing_folders_are_refused(source, tmp_path):
    (tmp_path / 'empty').mkdir()
    (tmp_path / 'empty/notes.txt').touch()
    for folder, out, message in [
        ('missing', 'out', 'no folder of photographs at .*missing'),
        ('empty', 'out', 'no photographs in .*empty'),
        ('photographs', 'photographs/pairs', 'lies inside'),
        ('photographs', 'photographs', 'lies inside'),
    ]:
        with pytest.raises(PairError, match=message):
            make_pairs(tmp_path / folder, tmp_path / out, darken, DarkSettings())
    assert not (tmp_path / 'out').exists()


def test_photographs_that_would_share_a_name_are_all_named(source, tmp_path):
    save(source / 'a.jpg')
    save(source / 'nested_deep_c.png')
    with pytest.raises(PairError, match=r'(?s)a.jpg and .*a.png\n.*c.png and .*c.png'):
        make_pairs(source, tmp_path / 'out', darken, DarkSettings())
    assert not (tmp_path / 'out').exists()


def test_unusable_photographs_are_listed_after_the_others_are_done(source, tmp_path):
    save(source / 'cut.jpg', np.tile(PHOTOGRAPH, (8, 8, 1)))
    whole = (source / 'cut.jpg').read_bytes()
    (source / 'cut.jpg').write_bytes(whole[: len(whole) // 2])
    (source / 'empty.png').touch()
    (source / 'text.png').write_text('not an image')
    cv2.imwrite(str(source / 'radiance.tiff'), PHOTOGRAPH.astype(np.float32))
    (source / '._hidden.jpg').write_text('of another system')
    with pytest.raises(PairError, match='4 of 7 photographs') as error:
        make_pairs(source, tmp_path / 'out', darken, DarkSettings())
    for words in (
        'cut.jpg: cannot be read, it may be cut off or damaged',
        'empty.png: ',
        'text.png: is no image of a format that is read',
        'radiance.tiff: is no image that Pillow can read (TIFF',
    ):
        assert words in str(error.value)
    assert len(contents(tmp_path / 'out')) == 6
    (source / 'cut.jpg').write_bytes(whole)
    for name in ('empty.png', 'text.png', 'radiance.tiff'):
        (source / name).unlink()
    assert make_pairs(source, tmp_path / 'out', darken, DarkSettings()) == 4


def test_images_too_small_for_the_degradation_are_named(source, tmp_path):
    with pytest.raises(PairError, match=r'a.png: an image of 32x24 pixels is smaller than the blur kernel'):
        make_pairs(source, tmp_path / 'out', add_blur, BlurSettings(length=60, turn=0))


def test_a_full_disk_stops_the_run_and_blames_no_photograph(source, tmp_path, monkeypatch):

    def no_space(self, data):
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(Path, 'write_bytes', no_space)
    with pytest.raises(OSError, match='No space left'):
        make_pairs(source, tmp_path / 'out', darken, DarkSettings())


@pytest.mark.parametrize('suffix', ['.png', '.tif'])
def test_reads_grey_transparent_and_deep_images_as_colour(tmp_path, suffix):
    path = tmp_path / f'image{suffix}'
    deep = PHOTOGRAPH.astype(np.uint16) * 257
    grey, transparent = PHOTOGRAPH[..., 0], np.dstack([PHOTOGRAPH, PHOTOGRAPH[..., 0]])
    for stored, expected in [
        (PHOTOGRAPH, PHOTOGRAPH),
        (grey, np.dstack([grey] * 3)),
        (transparent, PHOTOGRAPH),
        (deep, PHOTOGRAPH),
        (deep[..., 0], np.dstack([grey] * 3)),
    ]:
        order = stored if stored.ndim == 2 else stored[..., [2, 1, 0, 3][: stored.shape[2]]]
        assert cv2.imwrite(str(path), order)
        image = to_unit(read_rgb(path))
        np.testing.assert_allclose(image, expected / 255, atol=1e-6)


def test_photographs_taken_sideways_are_turned_upright(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(PHOTOGRAPH).save(tmp_path / 'a.jpg', exif=exif, quality=100)
    assert read_rgb(tmp_path / 'a.jpg').shape == (32, 24, 3)


def test_needs_neither_torch_nor_mmagic():
    code = (
        'import sys, mmsampriors.data_preparation.pairs, mmsampriors.data_preparation.degradations; '
        'print([name for name in ("torch", "mmagic", "mmcv") if name in sys.modules])'
    )
    done = subprocess.run([sys.executable, '-c', code], cwd=Path(__file__).parents[2], capture_output=True, text=True)
    assert done.stdout.strip() == '[]', done.stderr

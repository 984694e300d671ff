"""The converters of published data sets, in this process, on small stand-ins."""

import importlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from scipy.io import savemat

CONVERTERS = Path(__file__).resolve().parents[2] / 'tools' / 'dataset_converters'
RNG = np.random.default_rng(0)


@pytest.fixture
def prepare(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(str(CONVERTERS))
    monkeypatch.chdir(tmp_path)

    def call(name, *arguments, **settings):
        tool = importlib.import_module(f'prepare_{name}')
        for key, value in dict(dict(SIZE=40, OVERLAP=10), **settings).items():
            monkeypatch.setattr(tool, key, value)
        monkeypatch.setattr('sys.argv', ['prepare', *map(str, arguments)])
        tool.main()

    return call


def write(path, size=(50, 70)):
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), RNG.integers(256, size=(*size, 3), dtype=np.uint8))


def names(folder):
    return sorted(path.name for path in Path(folder).iterdir())


@pytest.mark.parametrize('released', [True, False])
def test_gopro(prepare, released):
    for split in ('train', 'test'):
        for kind in ('blur', 'blur_gamma', 'sharp') if released else ('input', 'target'):
            write(f'raw/{split}/GOPR1/{kind}/000047.png' if released else f'raw/{split}/{kind}/GOPR1-000047.png')
    prepare('gopro', 'raw')
    assert names('data/gopro/train/blur') == names('data/gopro/train/sharp')
    assert names('data/gopro/train/blur') == [f'GOPR1-000047_s00{n}.png' for n in (1, 2, 3, 4)]
    assert names('data/gopro/test/sharp') == ['GOPR1-000047.png']
    blurred = 'raw/test/GOPR1/blur/000047.png' if released else 'raw/test/input/GOPR1-000047.png'
    np.testing.assert_array_equal(cv2.imread('data/gopro/test/blur/GOPR1-000047.png'), cv2.imread(blurred))


def test_the_other_blur_of_gopro_is_not_mixed_with_the_first(prepare):
    for split in ('train', 'test'):
        for kind in ('blur', 'blur_gamma', 'sharp'):
            write(f'raw/{split}/GOPR1/{kind}/000047.png')
    prepare('gopro', 'raw')
    with pytest.raises(SystemExit, match='blur: blur then, blur_gamma now'):
        prepare('gopro', 'raw', '--blur', 'blur_gamma')


def test_sidd(prepare):
    for instance in ('010', '011'):
        for kind in ('NOISY', 'GT'):
            write(f'raw/0001_001_S6_00100_00060_3200_L/0001_{kind}_SRGB_{instance}.PNG')
    blocks = RNG.integers(256, size=(2, 3, 8, 8, 3), dtype=np.uint8)
    for name in ('ValidationNoisyBlocksSrgb', 'ValidationGtBlocksSrgb'):
        savemat(f'{name}.mat', {name: blocks})
    prepare('sidd', '--train', 'raw', '--val', '.')
    assert names('data/SIDD/train/noisy')[3:5] == ['0001_SRGB_010_s004_NOISY.png', '0001_SRGB_011_s001_NOISY.png']
    assert names('data/SIDD/train/gt')[3:5] == ['0001_SRGB_010_s004_GT.png', '0001_SRGB_011_s001_GT.png']
    assert names('data/SIDD/val/gt') == [f'val_{number}_GT.png' for number in range(6)]
    np.testing.assert_array_equal(cv2.imread('data/SIDD/val/noisy/val_4_NOISY.png')[..., ::-1], blocks[1, 1])


def test_dfwb(prepare):
    for path, size in (('DIV2K/0001.png', (90, 80)), ('BSD400/0001.jpg', (50, 70)), ('WaterlooED/0001.bmp', (50, 60))):
        write(f'raw/{path}', size)
    prepare('dfwb', 'raw', '--sets', 'DIV2K', 'BSD400', 'WaterlooED', WHOLE_UP_TO=60)
    crops = [f'DIV2K-0001_s00{n}.png' for n in range(1, 10)]
    assert names('data/DFWB') == ['BSD400-0001.png', *crops, 'WaterlooED-0001.png', 'crops.json']
    write('raw/BSD400/0001.tif')
    with pytest.raises(SystemExit, match='0001.jpg and raw/BSD400/0001.tif would have the same crops'):
        prepare('dfwb', 'raw', '--sets', 'BSD400')


def test_div2k(prepare):
    for number, split in (('0001', 'train'), ('0801', 'valid')):
        write(f'raw/DIV2K_{split}_HR/{number}.png', (72, 96))
        for scale in (2, 3):
            write(f'raw/DIV2K_{split}_LR_bicubic/X{scale}/{number}x{scale}.png', (72 // scale, 96 // scale))
    prepare('div2k', 'raw', '--scales', 2, 3, SIZE=48, OVERLAP=24)
    subs = [f'{number}_s00{n}.png' for number in ('0001', '0801') for n in range(1, 7)]
    for folder in ('DIV2K_train_HR_sub', 'DIV2K_train_LR_bicubic/X2_sub', 'DIV2K_train_LR_bicubic/X3_sub'):
        assert names(f'data/DIV2K/{folder}') == [*subs, 'crops.json']
    large, small = cv2.imread('raw/DIV2K_train_HR/0001.png'), cv2.imread('raw/DIV2K_train_LR_bicubic/X3/0001x3.png')
    np.testing.assert_array_equal(cv2.imread('data/DIV2K/DIV2K_train_HR_sub/0001_s006.png'), large[24:, 48:])
    sub = cv2.imread('data/DIV2K/DIV2K_train_LR_bicubic/X3_sub/0001_s006.png')
    np.testing.assert_array_equal(sub, small[8:, 16:])
    assert Path('data/DIV2K/meta_info_DIV2K800sub_GT.txt').read_text().startswith('0001_s001.png (48, 48, 3)\n')
    assert Path('data/DIV2K/meta_info_DIV2K100sub_GT.txt').read_text().count('\n') == 6
    write('raw/DIV2K_train_HR/0001.png', (73, 96))
    with pytest.raises(SystemExit, match='DIV2K_train_HR/0001.png has the size .*0001x2.png .*expected 2 times'):
        prepare('div2k', 'raw', '--scales', 2, 3)
    Path('raw/DIV2K_valid_LR_bicubic/X2/0801x2.png').unlink()
    with pytest.raises(SystemExit, match='1 images have no partner of scale 2 or size 1, such as 0801'):
        prepare('div2k', 'raw', '--scales', 2, 3)


def test_nothing_is_put_among_the_images_that_are_read_or_over_a_file_of_others(prepare):
    for kind in ('NOISY', 'GT'):
        write(f'raw/0001/0001_{kind}_SRGB_010.PNG')
    write('raw/DIV2K_train_HR/0001.png', (72, 96))
    write('raw/DIV2K_train_LR_bicubic/X2/0001x2.png', (36, 48))
    list_of_others = Path('out/meta_info_DIV2K100sub_GT.txt')
    list_of_others.parent.mkdir()
    list_of_others.write_text('mine')
    before = sorted(Path().rglob('*'))
    for arguments, message in (
        (('gopro', 'raw', 'raw'), 'raw lies inside raw, whose images are read'),
        (('dfwb', 'raw', 'raw/DFWB'), 'raw/DFWB lies inside raw'),
        (('sidd', '--train', 'raw', '--out', 'raw/0001'), 'raw/0001 lies inside raw'),
        (('div2k', 'raw', 'out', '--scales', 2), 'meta_info_DIV2K100sub_GT.txt would be replaced'),
        (('div2k', 'raw', 'out/meta_info_DIV2K100sub_GT.txt', '--scales', 2), 'expected a folder'),
    ):
        with pytest.raises(SystemExit, match=message):
            prepare(*arguments)
    assert sorted(Path().rglob('*')) == before and list_of_others.read_text() == 'mine'


def test_what_is_missing_is_named(prepare, capsys):
    write('raw/train/GOPR1/sharp/000047.png')
    write('raw/DIV2K/0001.png')
    for arguments, message in (
        (('gopro', 'nowhere'), r'no \*/sharp/\* in nowhere'),
        (('gopro', 'raw'), '1 blurred images are absent, such as raw/train/GOPR1/blur'),
        (('sidd', '--train', 'raw'), r'no \*\*/\*_NOISY_\*.PNG in raw'),
        (('sidd', '--val', 'raw'), 'no ValidationNoisyBlocksSrgb.mat in raw'),
        (('dfwb', 'raw'), 'no Flickr2K, WaterlooED, BSD400 in raw'),
    ):
        with pytest.raises(SystemExit, match=message):
            prepare(*arguments)
    Path('ValidationNoisyBlocksSrgb.mat').write_bytes(b'half a file')
    with pytest.raises(SystemExit, match='ValidationNoisyBlocksSrgb.mat cannot be read'):
        prepare('sidd', '--val', '.')
    with pytest.raises(SystemExit):
        prepare('sidd')
    assert 'name --train, --val, or both' in capsys.readouterr().err

"""tools/restore.py and tools/export_student.py as processes, with files as people have them."""

import json
import os
import re
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import skimage.data
import torch
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / 'tests' / 'test_inference'))

from networks import enlarging
from students import write_test_student
from test_images import EXIF_DIRECTORY, EXPOSURE, SRGB, broken_files, exif_of
from tool_processes import run_as_process

from mmsampriors.images import Photograph, read_photograph, write_photograph

HEAVY = {'torch', 'mmengine', 'mmcv', 'mmagic', 'cv2', 'scipy', 'skimage', 'matplotlib', 'pandas', 'onnx'}
COPIES = 6  # of each of 15 kinds
BROKEN = 14  # files that are not read


def run(*arguments, script='tools/restore.py', code=0):
    """Runs a tool, which must end with the status ``code``."""
    done = run_as_process([script, *arguments], cwd=ROOT, env=dict(PYTHONWARNINGS='ignore'))
    assert done.returncode == code, done.stderr[-3000:]
    return done


def run_alone(*arguments):
    """Runs a Python of its own, which has imported nothing yet."""
    environment = {**os.environ, 'OMP_NUM_THREADS': '1', 'PYTHONPATH': str(ROOT)}
    command = [sys.executable, '-W', 'ignore', *map(str, arguments)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return done


def test_what_restores_with_onnx_imports_nothing_heavy():
    code = (
        'import sys\nfrom mmsampriors import Restorer\nimport mmsampriors.command_line\n'
        'import mmsampriors.inference.job, mmsampriors.inference.measures, mmsampriors.inference.networks\n'
        'print(sorted({name.split(".")[0] for name in sys.modules}))'
    )
    imported = set(eval(run_alone('-c', code).stdout))
    assert 'numpy' in imported and not imported & HEAVY


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    """A folder with ``student.pth``, ``student.py`` and ``student.onnx``, made by the real command."""
    folder = tmp_path_factory.mktemp('trained')
    write_test_student('nafnet', folder / 'source.pth')
    done = run(
        folder / 'source.py',
        folder / 'source.pth',
        folder / 'student.pth',
        '--onnx',
        folder / 'student.onnx',
        script='tools/export_student.py',
    )
    assert re.search(r'differs from PyTorch by at most \d\.\de-0[5-9] of 1', done.stdout)
    return folder


@pytest.fixture(scope='module')
def mixed(tmp_path_factory):
    """90 photographs of 15 kinds in folders, and files that are not read."""
    folder = tmp_path_factory.mktemp('mixed')
    random = np.random.default_rng(0)
    for index in range(COPIES):
        where = folder / f'{index}' / 'deep'
        where.mkdir(parents=True)
        height, width = random.integers(20, 90, 2)
        colour = skimage.data.coffee()[index : index + height, 50 : 50 + width]
        gray, deep = colour[..., 1], colour.astype(np.uint16) * 257
        icc, exif = SRGB, exif_of(orientation=6)
        for name, photograph in {
            'rgb.png': Photograph(colour, None, exif_of(), icc),
            'gray.png': Photograph(gray),
            'alpha.png': Photograph(colour, gray),
            'deep.png': Photograph(deep, None, exif_of(), icc),
            'deep_gray.png': Photograph(deep[..., 0]),
            'photo.jpg': Photograph(colour, None, exif_of(), icc),
            'turned.jpeg': Photograph(colour, None, exif, icc),
            'gray.jpg': Photograph(gray),
            'rgb.tif': Photograph(colour, None, exif_of(), icc),
            'deep.tiff': Photograph(deep, deep[..., 1]),
            'rgb.webp': Photograph(colour, None, exif_of(), icc),
            'alpha.webp': Photograph(colour, gray),
        }.items():
            write_photograph(where / name, photograph)
        Image.fromarray(colour).convert('CMYK').save(where / 'cmyk.jpg')
        Image.fromarray(colour).convert('P').save(where / 'palette.png')
        Image.fromarray(colour).save(where / 'old.bmp')
    assert len(broken_files(folder / '0')) == BROKEN
    assert sum(path.is_file() for path in folder.rglob('*')) == 90 + BROKEN
    return folder


@pytest.mark.slow
@pytest.mark.parametrize('kind', ['onnx', 'pth'])
def test_a_folder_of_mixed_files(trained, mixed, tmp_path, kind):
    out, arguments = tmp_path / 'out', (mixed, '--student', trained / f'student.{kind}', '--device', 'cpu', '--out')
    done = run(*arguments, out, code=1)
    named = re.findall(r'^not restored: (.+?): .+', done.stderr, re.MULTILINE)
    assert len(named) == len(set(named)) == BROKEN
    assert '90 restored by' in done.stdout and f'{BROKEN} of {90 + BROKEN} not restored' in done.stderr
    assert len(re.findall('CMYK without a profile', done.stderr)) == COPIES
    assert len(re.findall('palette, converted', done.stderr)) == COPIES
    for source in (path for path in mixed.rglob('*') if path.is_file() and str(path) not in named):
        name = source.relative_to(mixed)
        given = read_photograph(source)
        found = read_photograph(out / (f'{name}.png' if name.suffix == '.bmp' else name))
        assert found.pixels.shape[:2] == given.pixels.shape[:2] and found.pixels.dtype == given.pixels.dtype
        assert found.pixels.ndim == given.pixels.ndim, name
        assert (found.alpha is None) == (given.alpha is None)
        assert given.alpha is None or np.array_equal(found.alpha, given.alpha)
        assert found.icc == given.icc
        if given.exif is not None:
            assert found.exif.get_ifd(EXIF_DIRECTORY)[EXPOSURE] == given.exif.get_ifd(EXIF_DIRECTORY)[EXPOSURE]
        scale = np.iinfo(given.pixels.dtype).max
        assert np.abs(found.pixels / scale - given.pixels / scale).mean() < 0.1, name
    assert sum(path.is_file() for path in out.rglob('*') if '.mmsampriors' not in path.parts) == 90
    if kind == 'pth':
        return  # the rest is the same code, and starts in no time with ONNX
    again = run(*arguments, out, code=1)
    assert '0 restored by' in again.stdout and '90 were ready' in again.stdout
    shards = [run(*arguments, tmp_path / 'shards', '--shard', f'{index}/3', code=1) for index in range(3)]
    assert sum(int(re.search(r'(\d+) restored by', done.stdout)[1]) for done in shards) == 90
    assert (tmp_path / 'shards' / '0' / 'deep' / 'rgb.png').read_bytes() == (out / '0/deep/rgb.png').read_bytes()


def test_a_student_of_the_package_on_onnx_runtime_does_not_speak_of_torch(tmp_path):
    pytest.importorskip('onnxruntime')
    Image.fromarray(skimage.data.astronaut()[:64, :64]).save(tmp_path / 'a.png')
    done = run(tmp_path / 'a.png', '--student', 'noise', '--out', tmp_path / 'out')
    assert 'loading' not in done.stderr and '1 restored by noise' in done.stdout and 'garbage' not in done.stdout


@pytest.mark.slow
def test_the_first_image_of_an_onnx_student_is_done_within_two_seconds(trained, tmp_path):
    """Time on the processor, which other processes do not lengthen; the clock shows less on two cores."""
    Image.fromarray(skimage.data.astronaut()[:256, :256]).save(tmp_path / 'a.png')
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    restore = ROOT / 'tools' / 'restore.py'
    run_alone(restore, tmp_path / 'a.png', '--student', trained / 'student.onnx', '--out', tmp_path / 'out')
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 2


@pytest.fixture
def pairs(tmp_path):
    """Two noisy photographs, and their ground truths in other formats."""
    random = np.random.default_rng(0)
    for name, clean in (('a', skimage.data.chelsea()[:210, :230]), ('sub/b', skimage.data.coffee()[:200, :200])):
        for folder, pixels, suffix in (
            ('lq', clean + random.normal(0, 25, clean.shape), 'png'),
            ('gt', clean, 'tif'),
        ):
            path = tmp_path / folder / f'{name}.{suffix}'
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels.round().clip(0, 255).astype(np.uint8)).save(path)
    return tmp_path


@pytest.mark.slow
def test_measuring_against_ground_truth_and_without(trained, pairs):
    metrics = ('--gt', pairs / 'gt', '--metrics', 'PSNR', 'SSIM', 'PSNR-Y', 'NIQE', '--compare')
    done = run(pairs / 'lq', '--student', trained / 'student.pth', '--out', pairs / 'out', '--device', 'cpu', *metrics)
    full, none = done.stdout.split('against ground truth')[1].split('without reference')
    assert 'PSNR (higher is better)' in full and 'NIQE' not in full and 'NIQE (lower is better)' in none
    rows = json.loads((pairs / 'out' / 'measured.json').read_text())
    assert [row['name'] for row in rows] == ['a.png', 'sub/b.png']
    for row in rows:
        assert row['restored']['PSNR'] > row['input']['PSNR'] + 4
        assert row['restored']['SSIM'] > row['input']['SSIM'] and row['restored']['NIQE'] > 0
    panel = read_photograph(pairs / 'out' / 'compared' / 'a.png.jpg').pixels
    assert panel.shape[1] == 3 * 230 + 2 * 8, 'input, restored and ground truth'
    again = run(pairs / 'lq', '--student', trained / 'student.pth', '--out', pairs / 'out', '--device', 'cpu', *metrics)
    assert '0 restored' in again.stdout and json.loads((pairs / 'out' / 'measured.json').read_text()) == rows


@pytest.mark.slow
def test_a_student_that_enlarges_goes_the_whole_way(tmp_path):
    """Exported as weights and as ONNX, both give photographs of twice the size, measured as published."""
    from mmengine.config import Config

    from mmsampriors.engine.export import write_student
    from mmsampriors.registry import MODELS

    model = dict(type='BaseEditModel', generator=enlarging('edsr', 2), pixel_loss=dict(type='L1Loss'))
    weights = {f'generator.{key}': value for key, value in MODELS.build(model['generator']).state_dict().items()}
    student = tmp_path / 'source.pth'
    write_student(weights, Config(dict(default_scope='mmagic', model=model)), str(student))
    onnx = ('--onnx', tmp_path / 'student.onnx')
    run(student.with_suffix('.py'), student, tmp_path / 'student.pth', *onnx, script='tools/export_student.py')
    clean = skimage.data.coffee()[:101, :160]
    small = np.asarray(Image.fromarray(clean).resize((80, 50), Image.Resampling.BICUBIC))
    for folder, photograph in (('lq', Photograph(small, small[..., 0])), ('gt', Photograph(clean))):
        (tmp_path / folder).mkdir()
        write_photograph(tmp_path / folder / 'a.png', photograph)
    found = {}
    for kind in ('pth', 'onnx'):
        options = ('--device', 'cpu', '--tile', '64', '--gt', tmp_path / 'gt', '--compare')
        done = run(tmp_path / 'lq', '--student', tmp_path / f'student.{kind}', '--out', tmp_path / kind, *options)
        found[kind] = read_photograph(tmp_path / kind / 'a.png')
        assert found[kind].pixels.shape == (100, 160, 3) and found[kind].alpha.shape == (100, 160)
        assert read_photograph(tmp_path / kind / 'compared' / 'a.png.jpg').pixels.shape[1] == 3 * 160 + 2 * 8
        assert 'PSNR-Y' in done.stdout and 'bicubic' in done.stdout and 'without a border of 2 pixels' in done.stdout
    assert np.abs(found['pth'].pixels.astype(int) - found['onnx'].pixels).max() <= 1


@pytest.mark.slow
def test_what_cannot_be_done_is_said_before_anything_is(trained, pairs, tmp_path):
    student = ('--student', trained / 'student.onnx', '--out', tmp_path / 'out')
    assert 'have no ground truth' in run(pairs / 'lq', *student, '--gt', pairs / 'gt' / 'sub', code=2).stderr
    assert 'name its folder with --gt' in run(pairs / 'lq', *student, '--metrics', 'PSNR', code=2).stderr
    assert 'a student holds no refiner' in run(pairs / 'lq', *student, '--refined', code=2).stderr
    assert 'no file matches' in run(pairs / '*.jpg', *student, code=2).stderr
    assert 'expected I/N' in run(pairs / 'lq', *student, '--shard', '3/2', code=2).stderr
    missing = run(pairs / 'lq', '--student', tmp_path / 'student.pth', '--out', tmp_path / 'out', code=2).stderr
    assert f'there is no student {tmp_path}/student.pth' in missing
    assert "a number of pixels, 'auto' or 'off'" in run(pairs / 'lq', *student, '--tile', 'big', code=2).stderr
    assert not (tmp_path / 'out').exists()
    (tmp_path / 'out').mkdir()
    (tmp_path / 'out' / 'a.png').write_text('mine')
    assert f'error: {tmp_path}/out/a.png would be replaced' in run(pairs / 'lq', *student, code=2).stderr
    assert [path.name for path in (tmp_path / 'out').iterdir()] == ['a.png']


@pytest.mark.slow
def test_refined_photographs_of_a_training_checkpoint(pairs, tmp_path, runner_cfg):
    """The refiner's images lie beside the restored ones, and are what the model gives with ``refined=True``."""
    from mmengine.config import Config

    from mmsampriors.registry import MODELS

    cfg = Config(runner_cfg(work_dir=tmp_path / 'work'))
    model = MODELS.build(cfg.model)
    for parameter in model.refiner.parameters():
        parameter.data += 0.02 * torch.randn_like(parameter)
    torch.save(dict(state_dict=model.state_dict()), tmp_path / 'iter_1.pth')
    cfg.dump(tmp_path / 'config.py')
    training = ('--config', tmp_path / 'config.py', '--checkpoint', tmp_path / 'iter_1.pth', '--device', 'cpu')
    done = run(pairs / 'lq' / 'a.png', *training, '--out', pairs / 'out', '--refined', '--gt', pairs / 'gt')
    assert 'refined' in done.stdout
    restored, refined = (read_photograph(pairs / 'out' / name).pixels for name in ('a.png', 'refined/a.png'))
    assert restored.shape == refined.shape and not np.array_equal(restored, refined)
    torch.save(dict(state_dict=model.generator.state_dict()), tmp_path / 'plain.pth')
    training = ('--config', tmp_path / 'config.py', '--checkpoint', tmp_path / 'plain.pth', '--out', tmp_path / 'o')
    assert 'holds no refiner' in run(pairs / 'lq', *training, '--refined', code=2).stderr


@pytest.mark.slow
def test_24_megapixels_in_two_gigabytes(tmp_path):
    """A NAFNet of width 32 with few blocks: memory is that of the first levels, time that of the deep ones."""
    from mmengine.config import Config

    from mmsampriors.engine.export import write_student
    from mmsampriors.registry import MODELS

    generator = dict(
        type='NAFNet', img_channels=3, mid_channels=32, enc_blk_nums=[1, 1], middle_blk_num=1, dec_blk_nums=[1, 1]
    )
    model = dict(type='BaseEditModel', generator=generator, pixel_loss=dict(type='L1Loss'))
    state = MODELS.build(generator).state_dict()
    cfg = Config(dict(default_scope='mmagic', model=model))
    write_student({f'generator.{key}': value for key, value in state.items()}, cfg, str(tmp_path / 'student.pth'))
    pixels = np.random.default_rng(0).integers(0, 256, (4000, 6000, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / 'large.jpg')
    # getrusage would count what the tests themselves took before they started this process.
    code = (
        'import runpy, sys\nsys.argv = sys.argv[1:]\nrunpy.run_path(sys.argv[0], run_name="__main__")\n'
        'print("peak", open("/proc/self/status").read().split("VmHWM:")[1].split()[0])'
    )
    restore = (ROOT / 'tools' / 'restore.py', tmp_path / 'large.jpg', '--student', tmp_path / 'student.pth')
    done = run_alone('-c', code, *restore, '--device', 'cpu', '--out', tmp_path / 'out')
    assert int(re.search(r'peak (\d+)', done.stdout)[1]) * 1024 < 2 * 10**9
    assert read_photograph(tmp_path / 'out' / 'large.jpg').pixels.shape == (4000, 6000, 3)


@pytest.mark.slow
def test_enlarging_takes_the_memory_of_a_tile_and_of_the_result():
    """The student by 4 in PyTorch. Of the whole second photograph one feature map alone would take 0.5 GB."""
    code = (
        'import numpy as np\nfrom mmsampriors import Restorer\n'
        'from mmsampriors.inference.students import weights_of_packaged\n'
        'restorer = Restorer(weights_of_packaged("x4"), device="cpu")\n'
        'for side in (256, 512):\n'
        '    assert restorer.restore(np.full((side, side, 3), side % 255, np.uint8)).shape == (4 * side, 4 * side, 3)\n'
        '    print(open("/proc/self/status").read().split("VmHWM:")[1].split()[0])'
    )
    small, large = (int(line) * 1024 for line in run_alone('-c', code).stdout.split())
    assert large < 2 * 10**9 and large - small < 150 * 10**6

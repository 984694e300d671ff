"""A wheel, an sdist and an editable install, each in an environment that borrows the packages of the running one."""

import importlib.util
import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest
import skimage.data

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
RESOLVE = """
import mmsampriors
from mmengine.config import Config
config = Config.fromfile('child.py', import_custom_modules=False)
assert config.spd.masks.type and 'mmsampriors.SPDScheduleHook' in [hook.type for hook in config.spd_hooks]
print(mmsampriors.__file__)
"""

FIRST_IMPORT = """
import importlib.machinery, os, runpy, sys

class ShowOrigin:
    def find_spec(name, path=None, target=None):
        if name == 'mmsampriors':
            print(importlib.machinery.PathFinder.find_spec(name).origin)
            raise SystemExit

sys.meta_path.insert(0, ShowOrigin)
sys.path[0] = os.path.dirname(sys.argv[1])
runpy.run_path(sys.argv[1], run_name='__main__')
"""
SCRIPTS = [
    str(path.relative_to(ROOT))
    for path in sorted((ROOT / 'tools').rglob('*.py'))
    if "if __name__ == '__main__'" in path.read_text() and 'mmsampriors' in path.read_text()
]


def run(*command, folder: Path) -> str:
    env = {key: value for key, value in os.environ.items() if key != 'PYTHONPATH'}
    done = subprocess.run([*map(str, command)], cwd=folder, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.strip()


def copy_checkout(target: Path) -> Path:
    """What a build reads, in a folder of its own: a build leaves files behind, and takes those of an earlier one."""
    target.mkdir(parents=True)
    ignore = shutil.ignore_patterns('__pycache__', '*.egg-info')
    for name in ('mmsampriors', 'configs', 'tools', 'requirements'):
        shutil.copytree(ROOT / name, target / name, symlinks=True, ignore=ignore)
    for name in ('setup.py', 'pyproject.toml', 'MANIFEST.in', 'LICENSE'):
        shutil.copy(ROOT / name, target)
    return target


def build_wheel(source: Path, target: Path) -> Path:
    options = ('--no-deps', '--no-build-isolation', '--wheel-dir', target)
    run(sys.executable, '-m', 'pip', 'wheel', *options, source, folder=source.parent)
    return next(target.glob('mmsampriors-*.whl'))


def make_environment(folder: Path) -> Path:
    """An environment with nothing in it but a view of the packages here; its Python."""
    run(sys.executable, '-m', 'venv', '--without-pip', folder, folder=folder.parent)
    packages = next(folder.glob('lib/python3*/site-packages'))
    (packages / 'borrowed.pth').write_text(sysconfig.get_path('purelib') + '\n')
    return folder / 'bin' / 'python'


def install(python: Path, *what, folder: Path):
    # --ignore-installed: an mmsampriors among the borrowed packages must neither count nor be removed.
    run(python, '-m', 'pip', 'install', '--no-deps', '--no-build-isolation', '--ignore-installed', *what, folder=folder)


def list_files(folder: str) -> dict[str, bytes]:
    return {
        f'{folder}/{path.relative_to(ROOT / folder)}': path.read_bytes()
        for path in (ROOT / folder).rglob('*')
        if path.is_file() and '__pycache__' not in path.parts and path.suffix != '.pyc'
    }


@pytest.fixture(scope='module')
def empty(tmp_path_factory):
    folder = tmp_path_factory.mktemp('an empty folder')
    (folder / 'child.py').write_text("_base_ = 'mmsampriors::_base_/spd.py'\n")
    return folder


@pytest.fixture(scope='module')
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp('wheel')
    return build_wheel(copy_checkout(folder / 'source'), folder)


@pytest.fixture(scope='module')
def with_wheel(wheel, tmp_path_factory):
    folder = tmp_path_factory.mktemp('regular')
    python = make_environment(folder / 'env')
    install(python, wheel, folder=folder)
    return python


def test_wheel_holds_package_configs_and_tools_as_files(wheel):
    with zipfile.ZipFile(wheel) as archive:
        held = {info.filename: info for info in archive.infolist() if '.dist-info/' not in info.filename}
        for name, content in {**list_files('configs'), **list_files('tools')}.items():
            info = held.pop(f'mmsampriors/.mim/{name}')
            assert (info.external_attr >> 28) == 0o10, f'{name} is no regular file'
            assert archive.read(info) == content
        metadata = next(archive.read(name).decode() for name in archive.namelist() if name.endswith('/METADATA'))
    ours = {
        name
        for name in list_files('mmsampriors')
        if Path(name).suffix in ('.py', '.safetensors', '.onnx', '.yml', '.css')
    }
    ours |= {'mmsampriors/inference/students/README.md', 'mmsampriors/masks/sam/README.md'}
    assert set(held) == {name for name in ours if '/.mim/configs/' not in name and '/.mim/tools/' not in name}

    needs = [line for line in metadata.splitlines() if line.startswith('Requires-Dist: mmcv')]
    assert len(needs) == 1 and 'extra == "lite"' in needs[0], 'a plain install must leave mmcv alone'


def test_wheel_from_sdist_is_the_same(wheel, tmp_path):
    source = copy_checkout(tmp_path / 'source')
    build = 'import sys; from setuptools import build_meta; build_meta.build_sdist(sys.argv[1])'
    run(sys.executable, '-c', build, tmp_path, folder=source)
    sdist = next(tmp_path.glob('mmsampriors-*.tar.gz'))
    (tmp_path / 'out').mkdir()
    again = build_wheel(sdist, tmp_path / 'out')
    with zipfile.ZipFile(wheel) as one, zipfile.ZipFile(again) as other:
        assert sorted(one.namelist()) == sorted(other.namelist())


def test_regular_install_resolves_bases(with_wheel, empty):
    assert run(with_wheel, '-c', RESOLVE, folder=empty).startswith(str(with_wheel.parents[1]))


def test_the_command_runs_the_tools_of_the_wheel(with_wheel, empty):
    command = with_wheel.parent / 'mmsampriors'
    listed = run(command, '--help', folder=empty)
    for name in ('train', 'test', 'restore', 'cache-masks', 'export', 'compare', 'demo', 'make-rain', 'quickstart'):
        assert f'{name}' in listed
    shown = run(command, 'train', '--help', folder=empty)
    assert 'usage: train.py' in shown and '--cfg-options' in shown
    noisy = run(command, 'make-noise', photographs(empty), 'pairs', '--sigma', '25', folder=empty)
    assert (empty / 'pairs' / 'input' / 'coffee.png').is_file(), noisy


JOB = """
_base_ = 'mmsampriors::spd/nafnet_denoise-tiny.py'
pairs = dict(dataset=dict(data_root='job'))
train_dataloader = val_dataloader = test_dataloader = pairs
train_cfg = dict(max_iters=2, val_interval=2)
param_scheduler = dict(T_max=2)
default_hooks = dict(checkpoint=dict(interval=2))
"""


def test_a_whole_job_by_the_command(with_wheel, empty):
    (empty / 'job.py').write_text(JOB)
    for line in (
        f'make-noise {photographs(empty).name} job --sigma 25',
        'cache-masks job.py',
        'train job.py --check',
        'train job.py',
        'test job.py work_dirs/job/iter_2.pth',
        'export job.py work_dirs/job/iter_2.pth student.pth',
        'restore photographs --student student.pth --device cpu --out restored',
        'segment photographs --sam tiny --points-per-side 4 --out masks',
        'compare work_dirs/job',
        'demo --help',
    ):
        shown = run(with_wheel.parent / 'mmsampriors', *line.split(), folder=empty)
    assert 'usage: demo.py' in shown
    for made in ('student.py', 'restored/coffee.png', 'masks/coffee.json', 'work_dirs/compare/compare.md'):
        assert (empty / made).is_file()


def test_an_unknown_command_is_named(with_wheel, empty):
    done = subprocess.run([with_wheel.parent / 'mmsampriors', 'trian'], cwd=empty, capture_output=True, text=True)
    assert done.returncode == 1 and "there is no command 'trian'" in done.stderr and 'train' in done.stderr


def photographs(folder: Path) -> Path:
    """A folder with one photograph."""
    (folder / 'photographs').mkdir(exist_ok=True)
    shutil.copy(Path(skimage.data.__file__).parent / 'coffee.png', folder / 'photographs')
    return folder / 'photographs'


@pytest.mark.skipif(not importlib.util.find_spec('mim'), reason='openmim is not installed')
def test_mim_trains_tests_and_runs_from_the_wheel(with_wheel, empty):
    def mim(*arguments):
        return run(with_wheel, '-c', 'from mim.cli import cli; cli()', *arguments, folder=empty)

    mim('run', 'mmsampriors', 'dataset_converters:make_noise', photographs(empty), 'data', '--sigma', '25')
    options = [f'{name}_dataloader.dataset.data_root=data' for name in ('train', 'val', 'test')]
    options += ['train_cfg.max_iters=2', 'train_cfg.val_interval=2', 'default_hooks.checkpoint.interval=2']
    options = ['--work-dir', 'trained', '--cfg-options', *options]
    mim('train', 'mmsampriors', 'nafnet_denoise-tiny.py', '--gpus', '0', *options)
    checkpoint = ('--checkpoint', 'trained/iter_2.pth')
    shown = mim('test', 'mmsampriors', 'nafnet_denoise-tiny.py', *checkpoint, '--gpus', '0', *options)
    assert 'PSNR' in shown


def test_editable_install_resolves_bases(tmp_path, empty):
    source = copy_checkout(tmp_path / 'source')
    python = make_environment(tmp_path / 'env')
    install(python, '--editable', source, folder=tmp_path)
    assert run(python, '-c', RESOLVE, folder=empty) == str(source / 'mmsampriors' / '__init__.py')


@pytest.mark.parametrize('script', SCRIPTS)
def test_scripts_of_a_checkout_run_the_checkout(script, with_wheel, empty):
    """Also where another mmsampriors is installed: stops at the first import of it and shows where that leads."""
    assert run(with_wheel, '-c', FIRST_IMPORT, ROOT / script, folder=empty) == str(ROOT / 'mmsampriors' / '__init__.py')


def test_lost_links_are_named(tmp_path):
    source = copy_checkout(tmp_path / 'source')
    link = source / 'mmsampriors' / '.mim' / 'configs'
    link.unlink()
    link.write_text('../../configs')
    done = subprocess.run([sys.executable, 'setup.py', '--version'], cwd=source, capture_output=True, text=True)
    assert done.returncode != 0
    assert 'mmsampriors/.mim/configs' in done.stderr and 'core.symlinks' in done.stderr

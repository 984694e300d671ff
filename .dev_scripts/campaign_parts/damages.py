"""The files that our tools write and others of our tools read, and how each is read."""

import shutil
from pathlib import Path
from typing import Callable, NamedTuple

from .phases import write_config

HOW = ('cut', 'flip')


class Kind(NamedTuple):
    """A kind of file.

    Attributes:
        name (str): What the table calls it.
        prepare (callable): Takes the folder of the campaign and that of the trial, fills the latter, and gives the
            files of which one is damaged.
        command (callable): Takes the folder of the trial; the command that reads the file.
        keeps (bool): Whether the damaged file itself stays as it is where the command goes on.
    """

    name: str
    prepare: Callable
    command: Callable
    keeps: bool = False


def _copy(source, out):
    shutil.rmtree(out, ignore_errors=True)
    shutil.copytree(source, out)
    return out


def _of_maker(name, record):
    def prepare(folder, out):
        return list(_copy(folder / 'whole' / name, out).rglob(record))

    return prepare


def _images(kind):
    def prepare(folder, out):
        _copy(folder / 'pairs', out.with_name(f'{out.name}_data') / 'pairs')
        return list((out.with_name(f'{out.name}_data') / 'pairs' / kind).glob('*.png'))

    return prepare


def _train_on_images(out):
    return ['tools/train.py', write_config(out.with_name(f'{out.name}_data'), out), '--work-dir', out / 'work']


def _train(out, *options):
    return ['tools/train.py', write_config(out.parents[1], out), '--work-dir', out / 'work', *options]


def _masks(folder, out):
    _copy(folder / 'whole' / 'train' / 'masks', out / 'masks')
    return list((out / 'masks').rglob('*.masks'))


def _interrupted(pattern):
    """A training that was stopped after 6 of its 8 iterations."""

    def prepare(folder, out):
        _copy(folder / 'whole' / 'train', out)
        (out / 'work' / 'iter_8.pth').unlink()
        (out / 'work' / 'last_checkpoint').write_text(str(out / 'work' / 'iter_6.pth'))
        return list((out / 'work').glob(pattern))

    return prepare


def _trained(pattern):
    def prepare(folder, out):
        shutil.copytree(folder / 'whole' / 'train' / 'work', out, ignore=shutil.ignore_patterns('2*'))
        return list(out.glob(pattern))

    return prepare


def _test(name):
    def command(out):
        checkpoint = next(out.glob(name))
        config = out / 'student.py' if name.startswith('student') else write_config(out.parents[1], out)
        return ['tools/test.py', config, checkpoint, '--work-dir', out / 'test']

    return command


def _export(out):
    return [
        'tools/export_student.py',
        write_config(out.parents[1], out),
        out / 'iter_8.pth',
        out / 'out' / 'student.pth',
    ]


def kinds(folder: Path) -> list:
    """All kinds of files that are damaged."""
    rain = ['tools/dataset_converters/make_rain.py', folder / 'photographs']
    gopro = ['tools/dataset_converters/prepare_gopro.py', folder / 'gopro']
    return [
        Kind('pairs.json', _of_maker('make_rain', 'pairs.json'), lambda out: [*rain, out, '--workers', 2]),
        Kind('crops.json', _of_maker('crops', 'crops.json'), lambda out: [*gopro, out]),
        Kind('input/NAME.png', _images('input'), _train_on_images),
        Kind('target/NAME.png', _images('target'), _train_on_images),
        Kind('masks', _masks, _train),
        Kind('iter_N.pth, resumed', _interrupted('iter_6.pth'), lambda out: _train(out, '--resume'), keeps=True),
        Kind('last_checkpoint', _interrupted('last_checkpoint'), lambda out: _train(out, '--resume')),
        Kind('iter_N.pth, exported', _trained('iter_8.pth'), _export, keeps=True),
        Kind('best_PSNR_iter_N.pth', _trained('best_PSNR_iter_*.pth'), _test('best_PSNR_iter_*.pth'), keeps=True),
        Kind('student.pth', _trained('student.pth'), _test('student.pth'), keeps=True),
    ]

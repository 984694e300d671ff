"""Weights by the names and in the containers of networks' authors, and files that other programs open."""

import shutil
import sys
import zipfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import skimage.data
import torch
import yaml
from PIL import Image
from safetensors.torch import load_file, save_file
from students import NETWORKS, write_test_student
from tool_processes import run_as_process

from mmsampriors.checkpoints import read_weights
from mmsampriors.inference.restorer import Restorer

sys.path.insert(0, str(Path(__file__).parents[1]))

from test_downloads import Handler, server  # noqa: F401  (a fixture)

ROOT = Path(__file__).parents[2]


def run(*command, cwd, code=0):
    """Runs a tool, which must end with the status ``code``."""
    done = run_as_process(list(command), cwd=cwd, env=dict(PYTHONWARNINGS='ignore'))
    assert done.returncode == code, done.stdout[-2000:] + done.stderr[-3000:]
    return done


def bare_weights(name, folder):
    """The weights of a trained denoiser by the network's own names, and its config."""
    write_test_student(name, folder / 'ours.pth')
    weights = read_weights(folder / 'ours.pth')
    return {key.removeprefix('generator.'): value for key, value in weights.items()}, folder / 'ours.py'


@pytest.fixture
def photo(tmp_path):
    """A folder with one photograph of odd sides, with an EXIF tag."""
    (tmp_path / 'photos').mkdir()
    image = Image.fromarray(skimage.data.chelsea()[:61, :75])
    exif = Image.Exif()
    exif[0x010F] = 'maker'
    image.save(tmp_path / 'photos' / 'cat.png', exif=exif)
    return tmp_path / 'photos'


def restored(folder):
    return np.asarray(Image.open(folder / 'cat.png')).astype(int)


def test_a_config_and_the_authors_weights(tmp_path, photo):
    weights, config = bare_weights('nafnet', tmp_path)
    torch.save(dict(params=weights), tmp_path / 'official.pth')
    options = ('--config', config, '--checkpoint', 'official.pth', '--device', 'cpu', '--out', 'out')
    done = run('tools/restore.py', photo, *options, cwd=tmp_path)
    assert f'official.pth: {len(weights)} weights, bare keys, of params' in done.stdout
    assert np.array_equal(restored(tmp_path / 'out'), Restorer(tmp_path / 'ours.pth').restore(photo / 'cat.png'))
    torch.save(dict(list(weights.items())[2:]), tmp_path / 'official.pth')
    done = run('tools/restore.py', photo, *options[:-1], 'other', cwd=tmp_path, code=2)
    first = ', '.join(f'{key} {tuple(value.shape)}' for key, value in list(weights.items())[:3])
    assert '2 of its' in done.stderr and f'expected are {first}' in done.stderr and 'Traceback' not in done.stderr


@pytest.mark.parametrize('name', list(NETWORKS))
def test_weights_alone_restore_by_spandrel(tmp_path, photo, name):
    pytest.importorskip('spandrel_extra_arches')
    weights, _ = bare_weights(name, tmp_path)
    save_file({key: value.contiguous() for key, value in weights.items()}, tmp_path / 'official.safetensors')
    done = run(
        'tools/restore.py', photo, '--student', 'official.safetensors', '--device', 'cpu', '--out', 'out', cwd=tmp_path
    )
    kind = dict(nafnet='NAFNet', restormer='Restormer', swinir='SwinIR')[name]
    assert f'official.safetensors: {len(weights)} weights of {kind}, as spandrel recognizes' in done.stdout
    assert np.abs(restored(tmp_path / 'out') - Restorer(tmp_path / 'ours.pth').restore(photo / 'cat.png')).max() <= 1
    assert Image.open(tmp_path / 'out' / 'cat.png').getexif()[0x010F] == 'maker'
    tiled = Restorer(tmp_path / 'official.safetensors', device='cpu', tile=64).restore(skimage.data.chelsea()[:90, :90])
    assert tiled.shape == (90, 90, 3)


def test_spandrel_enlarges_and_refuses_what_it_does_not_know(tmp_path):
    pytest.importorskip('spandrel_extra_arches')
    from mmagic.models import RRDBNet

    network = RRDBNet(3, 3, mid_channels=16, num_blocks=1, growth_channels=32, upscale_factor=4)
    torch.save(dict(params_ema=network.state_dict()), tmp_path / 'esrgan.pth')
    image = skimage.data.chelsea()[:40, :50]
    assert Restorer(tmp_path / 'esrgan.pth', device='cpu').restore(image).shape == (160, 200, 3)
    torch.save({'a.weight': torch.zeros(3)}, tmp_path / 'unknown.pth')
    with pytest.raises(ValueError, match=r'knows no network .* a.weight \(3,\) .*--config mmagic::FOLDER/CONFIG.py'):
        Restorer(tmp_path / 'unknown.pth', device='cpu')
    torch.save({'generator.a': torch.zeros(3)}, tmp_path / 'ours_without_config.pth')
    with pytest.raises(FileNotFoundError, match="the student's config"):
        Restorer(tmp_path / 'ours_without_config.pth', device='cpu')


def test_without_spandrel_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, 'spandrel', None)
    torch.save({'a.weight': torch.zeros(3)}, tmp_path / 'official.pth')
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'mmsampriors\[spandrel\]'.*--config mmagic::"):
        Restorer(tmp_path / 'official.pth')


WITH_OTHER_MMAGIC = """
import runpy, sys
import mmengine.hub.hub
mmengine.hub.hub.get_installed_path = lambda package: {folder!r}
runpy.run_path({tool!r}, run_name='__main__')
"""


def test_a_config_of_mmagic_brings_its_weights(server, tmp_path, photo):  # noqa: F811
    """A folder and a server of this machine stand in for mmagic's configs and for its model zoo."""
    served, address = server
    weights, config = bare_weights('nafnet', tmp_path)
    torch.save(dict(state_dict={f'generator.{key}': value for key, value in weights.items()}), served / 'net.pth')
    from mmsampriors.files import sha256_of

    name = f'net-{sha256_of(served / "net.pth")[:8]}.pth'
    shutil.copy(served / 'net.pth', served / name)
    shutil.copy(served / 'net.pth', served / 'net-00000000.pth')
    configs = tmp_path / '.mim' / 'configs' / 'nafnet'
    configs.mkdir(parents=True)
    (tmp_path / '.mim' / 'model-index.yml').write_text('Import:\n- configs/nafnet/metafile.yml\n')
    entries = ''
    for config_name, file in (('good', name), ('damaged', 'net-00000000.pth')):
        shutil.copy(config, configs / f'{config_name}.py')
        entries += f'- Config: configs/nafnet/{config_name}.py\n  Weights: {address}/{file}\n'
    (configs / 'metafile.yml').write_text(f'Models:\n{entries}')
    tool = tmp_path / 'restore.py'
    tool.write_text(WITH_OTHER_MMAGIC.format(folder=str(tmp_path), tool=str(ROOT / 'tools' / 'restore.py')))
    for out in ('out', 'again'):
        run(tool, photo, '--student', 'mmagic::nafnet/good.py', '--device', 'cpu', '--out', out, cwd=tmp_path)
    assert Handler.asked.count(f'/{name}') == 1, 'it is downloaded once'
    assert np.array_equal(restored(tmp_path / 'out'), Restorer(tmp_path / 'ours.pth').restore(photo / 'cat.png'))
    options = ('--student', 'mmagic::nafnet/damaged.py', '--out', 'no')
    assert 'should begin with 00000000' in run(tool, photo, *options, cwd=tmp_path, code=2).stderr
    options = ('--student', 'mmagic::nafnet/nothing.py', '--out', 'no')
    assert 'names no weights for mmagic::nafnet/nothing.py' in run(tool, photo, *options, cwd=tmp_path, code=2).stderr


def test_one_command_writes_files_for_everybody(tmp_path):
    onnx, runtime = pytest.importorskip('onnx'), pytest.importorskip('onnxruntime')
    from mmsampriors.inference.publishing import check_darktable

    weights, _ = bare_weights('nafnet', tmp_path)
    (tmp_path / 'test_results.json').write_text('{"results": {"student": {"Rain100L": {"PSNR": 30.25}}}}')
    files = ('bare.safetensors', '--keys', 'bare', '--onnx', 'fixed.onnx', '--size', '61', '76', '--opset', '18')
    files += ('--darktable', 'My Denoiser.dtmodel', '--card', 'README.md')
    done = run('tools/export_student.py', 'ours.py', 'ours.pth', *files, cwd=tmp_path)
    assert load_file(tmp_path / 'bare.safetensors').keys() == weights.keys()
    assert not (tmp_path / 'bare.py').exists() and 'darktable itself was not run' in done.stdout
    graph = onnx.load(tmp_path / 'fixed.onnx')
    shapes = [
        [one.dim_value for one in value.type.tensor_type.shape.dim]
        for value in (*graph.graph.input, *graph.graph.output)
    ]
    assert shapes == [[1, 3, 61, 76]] * 2 and graph.opset_import[0].version == 18
    image = skimage.data.chelsea()[:61, :76]
    session = runtime.InferenceSession(str(tmp_path / 'fixed.onnx'), providers=['CPUExecutionProvider'])
    made = session.run(None, {'image': (image / np.float32(255)).transpose(2, 0, 1)[None].astype(np.float32)})[0]
    expected = Restorer(tmp_path / 'ours.pth', device='cpu').restore(image / np.float32(255))
    assert np.abs(made[0].transpose(1, 2, 0) - expected).max() < 1e-4
    with pytest.raises(ValueError, match='one size alone: to restore, export it without --size'):
        Restorer(tmp_path / 'fixed.onnx')
    check_darktable(tmp_path / 'My Denoiser.dtmodel')
    with zipfile.ZipFile(tmp_path / 'My Denoiser.dtmodel') as archive:
        assert archive.namelist() == ['my-denoiser/config.json', 'my-denoiser/model.onnx']
        (tmp_path / 'model.onnx').write_bytes(archive.read('my-denoiser/model.onnx'))
    assert np.abs(Restorer(tmp_path / 'model.onnx').restore(image).astype(int) - expected * 255).max() < 1
    card = (tmp_path / 'README.md').read_text()
    assert yaml.safe_load(card.split('---')[1])['pipeline_tag'] == 'image-to-image'
    for text in ('| Rain100L | PSNR | 30.2500 |', '--student bare.safetensors', 'hf upload', 'NAFNet'):
        assert text in card
    assert 'fixed.onnx: on one image ONNX' in done.stdout


@pytest.mark.parametrize(
    'files, one_size, command, without',
    [
        (['a.pth', 'a.py', 'a.onnx'], False, '--student a.pth', 'spandrel'),
        (['b.safetensors', 'a.onnx'], False, '--student a.onnx', 'spandrel'),
        (['b.safetensors', 'a.onnx'], True, '--config mine.py --checkpoint b.safetensors', '--student a.onnx'),
        (['a.onnx'], True, 'of one size alone', 'restore.py'),
        (['a.dtmodel'], False, 'darktable 5.6', 'restore.py'),
    ],
)
def test_the_card_says_how_to_run_what_is_there(tmp_path, files, one_size, command, without):
    from mmsampriors.inference.publishing import write_card

    (tmp_path / 'base.py').write_text('')
    (tmp_path / 'mine.py').write_text("_base_ = ['base.py']\n")
    network = SimpleNamespace(student=SimpleNamespace(generator=torch.nn.ReLU()), channels=3)
    write_card(network, {}, str(tmp_path / 'card.md'), files, str(tmp_path / 'mine.py'), 'mine.pth', one_size)
    card = (tmp_path / 'card.md').read_text()
    assert command in card and without not in card
    assert 'Config: `mine.py`, which inherits `base.py`. Checkpoint' in card


@pytest.mark.parametrize('name', list(NETWORKS))
def test_spandrel_opens_bare_weights(tmp_path, name):
    spandrel = pytest.importorskip('spandrel')
    pytest.importorskip('spandrel_extra_arches').install(ignore_duplicates=True)
    from mmsampriors.inference.publishing import write_bare
    from mmsampriors.inference.torch_network import TorchNetwork, exported_config

    bare_weights(name, tmp_path)
    student = TorchNetwork(exported_config(tmp_path / 'ours.pth'), tmp_path / 'ours.pth', 'cpu').student
    note = write_bare(student, str(tmp_path / 'bare.safetensors'))
    assert f'spandrel {spandrel.__version__} detects' in note
    descriptor = spandrel.ModelLoader('cpu').load_from_file(tmp_path / 'bare.safetensors')
    image = torch.rand(1, 3, 61, 75)
    with torch.no_grad():
        assert (descriptor(image) - student(image)).abs().max() < 1e-6


@pytest.mark.parametrize(
    'change, reason',
    [
        (dict(order='bgr'), 'in the order BGR'),
        (dict(std=[1.0] * 3), 'of another range'),
        (dict(mean=[103.5, 116.3, 123.7]), 'their mean taken off'),
        (dict(img_range=255.0), 'img_range=255'),
    ],
)
def test_what_other_programs_cannot_know_is_refused(tmp_path, change, reason):
    from mmagic.models import DataPreprocessor

    from mmsampriors.inference.publishing import write_bare
    from mmsampriors.models.networks import Student
    from mmsampriors.registry import MODELS

    settings = {key: change[key] for key in ('img_range',) if key in change}
    network = MODELS.build({**NETWORKS['swinir'], **settings})
    preprocessor = DataPreprocessor(change.get('mean', [0.0] * 3), change.get('std', [255.0] * 3))
    with pytest.raises(ValueError, match=f'{reason}.*which weights do not say'):
        write_bare(Student(network, preprocessor, change.get('order', 'rgb')), str(tmp_path / 'bare.safetensors'))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize('opset', ['5', '999'])
def test_operators_that_cannot_be_written_are_one_line(tmp_path, opset):
    done = run('tools/export_student.py', 'a.py', 'a.pth', '--onnx', 'a.onnx', '--opset', opset, cwd=tmp_path, code=2)
    assert f'--opset must be from 11 to 20, found {opset}' in done.stderr and not done.stdout


def test_nafnet_with_windows_says_that_it_loads_without_them(tmp_path):
    from mmagic.models import DataPreprocessor

    from mmsampriors.inference.publishing import write_bare
    from mmsampriors.models.networks import Student
    from mmsampriors.registry import MODELS

    network = MODELS.build({**NETWORKS['nafnet'], 'type': 'NAFNetLocal'})
    preprocessor = DataPreprocessor([0.0] * 3, [255.0] * 3)
    note = write_bare(Student(network, preprocessor, 'rgb'), str(tmp_path / 'bare.safetensors'))
    assert 'loads as a plain NAFNet, and differs on images larger than its windows' in note

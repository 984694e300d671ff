"""Weights as the authors of restoration networks publish them, in the real process of tools/test.py and as refiner."""

import json
from typing import Callable

import numpy as np
import pytest
import skimage.data
import torch
from mmengine.config import Config
from PIL import Image
from safetensors.torch import save_file
from tool_processes import run_as_process

from mmsampriors.engine.export import stock_model
from mmsampriors.models import spd_model
from mmsampriors.registry import MODELS

CONFIG = """
_base_ = ['mmagic::nafnet/nafnet_c64eb11128mb1db1111_8xb8-lr1e-3-400k_gopro.py', 'mmsampriors::_base_/spd.py']
model = dict(
    type='mmsampriors.SPDModel', spd=_base_.spd,
    generator=dict(type='NAFNet', mid_channels=4, enc_blk_nums=[1], dec_blk_nums=[1], middle_blk_num=1))
test_dataloader = dict(
    num_workers=0, dataset=dict(data_root='pairs', data_prefix=dict(img='input', gt='target')))
"""


def shifted(weights: dict) -> dict:
    """Other weights of the same names: whoever loads these instead is found out."""
    return {name: value + 1 for name, value in weights.items()}


def of_ddp(weights: dict) -> dict:
    return {f'module.{name}': value for name, value in weights.items()}


#: Each layout: the file that is made of bare weights, its ending, and where the log must say that they lay.
LAYOUTS = {
    'nafnet_and_restormer': (lambda weights: dict(params=weights), '.pth', ', of params'),
    'basicsr': (lambda weights: dict(params=shifted(weights), params_ema=weights), '.pth', ', of params_ema'),
    'swinir_with_averages_alone': (lambda weights: dict(params_ema=weights), '.pth', ', of params_ema'),
    'kair': (dict, '.pth', ''),
    'state_dict_of_ddp': (
        lambda weights: dict(epoch=3, state_dict=of_ddp(weights), optimizer=dict(state={}, param_groups=[])),
        '.pth',
        ', of state_dict',
    ),
    'params_of_ddp': (lambda weights: dict(params=of_ddp(weights)), '.pth', ', of params'),
    'safetensors': (dict, '.safetensors', ''),
}
layouts = pytest.mark.parametrize('layout, suffix, of', LAYOUTS.values(), ids=list(LAYOUTS))


def write(path, content: dict):
    (save_file if path.suffix == '.safetensors' else torch.save)(content, path)


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """A user's folder: a config and one pair of images."""
    folder = tmp_path_factory.mktemp('user')
    (folder / 'config.py').write_text(CONFIG)
    target = skimage.data.chelsea()[100:140, 150:200]
    for kind, pixels in (('target', target), ('input', target // 2)):
        (folder / 'pairs' / kind).mkdir(parents=True)
        Image.fromarray(pixels).save(folder / 'pairs' / kind / '0.png')
    return folder


@pytest.fixture(scope='module')
def network(folder):
    """Random weights by the network's own names, none of them where it began."""
    torch.manual_seed(1)
    model = Config.fromfile(str(folder / 'config.py')).model
    state = MODELS.build(stock_model(model)).generator.state_dict()
    return {name: value + 0.1 * torch.randn_like(value) for name, value in state.items()}


def run_test(folder, checkpoint: str, code: int = 0):
    """``tools/test.py`` on a checkpoint, and what it prints."""
    out = f'{checkpoint}.json'
    command = ['tools/test.py', 'config.py', checkpoint, '--work-dir', f'test_{checkpoint}', '--out', out]
    done = run_as_process(command, cwd=folder, env=dict(PYTHONWARNINGS='ignore'))
    assert done.returncode == code, done.stdout[-3000:] + done.stderr[-3000:]
    return done


@pytest.fixture(scope='module')
def expected(folder, network):
    """Metrics of the same weights in mmagic's own file."""
    weights = {f'generator.{name}': value for name, value in network.items()}
    torch.save(dict(meta=dict(), state_dict=weights), folder / 'mmagic.pth')
    done = run_test(folder, 'mmagic.pth')
    assert 'bare keys' not in done.stdout
    return json.loads((folder / 'mmagic.pth.json').read_text())


@layouts
def test_the_test_tool_takes_what_authors_publish(
    folder, network, expected, layout: Callable, suffix: str, of: str, request
):
    name = f'{request.node.callspec.id}{suffix}'
    write(folder / name, layout(network))
    done = run_test(folder, name)
    assert f'{name}: {len(network)} weights, bare keys{of}\n' in done.stdout + done.stderr
    found = json.loads((folder / f'{name}.json').read_text())
    assert found == expected and np.isfinite(found['PSNR'])


def test_the_test_tool_shows_the_first_keys_of_both_sides(folder, network):
    found = {f'body.{name}': value for name, value in network.items()}
    torch.save(dict(params=found), folder / 'other.pth')
    done = run_test(folder, 'other.pth', code=1)
    sides = [
        ', '.join(f'generator.{name} {tuple(value.shape)}' for name, value in list(side.items())[:3])
        for side in (found, network)
    ]
    assert f'of the checkpoint are {sides[0]}; expected are {sides[1]}' in done.stderr
    assert 'Traceback' not in done.stderr


def model_from(folder, file):
    """The model of the config, its refiner from a file."""
    cfg = Config.fromfile(str(folder / 'config.py')).model
    cfg.spd.refiner_from = str(file)
    return MODELS.build(cfg)


@layouts
def test_a_refiner_starts_from_what_authors_publish(
    folder, tmp_path, network, layout: Callable, suffix: str, of: str, monkeypatch
):
    write(tmp_path / f'official{suffix}', layout(network))
    model = model_from(folder, tmp_path / f'official{suffix}')
    logged = []
    monkeypatch.setattr(spd_model, 'print_log', lambda message, logger: logged.append(message))
    model.init_weights()
    file = tmp_path / f'official{suffix}'
    assert logged == [f'model.spd.refiner_from, {file}: {len(network)} weights, bare keys{of}']
    assert all(value.equal(model.refiner.state_dict()[name]) for name, value in network.items())


def test_a_refiner_of_others_keys_shows_the_first_of_both_sides(folder, tmp_path, network):
    found = {f'body.{name}': value for name, value in network.items()}
    torch.save(dict(params=found), tmp_path / 'other.pth')
    sides = [
        ', '.join(f'{name} {tuple(value.shape)}' for name, value in list(side.items())[:3]) for side in (found, network)
    ]
    with pytest.raises(ValueError) as error:
        model_from(folder, tmp_path / 'other.pth').init_weights()
    assert f'The first keys of the file are {sides[0]}; expected are {sides[1]}' in str(error.value)

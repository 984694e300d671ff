import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from mmsampriors.compat.plain_data import PlainConfigError
from mmsampriors.inference.plain_config import buildable_model, import_modules, read_plain_config

sys.path.insert(0, str(Path(__file__).parents[1]))

from tool_processes import run_as_process


def test_values_are_read(tmp_path):
    (tmp_path / 'a.py').write_text("a = dict(b=[1, (2.5, -3)], c={'d': None})\ne = 'text'\nf = [inf, -inf]\n")
    assert read_plain_config(tmp_path / 'a.py') == dict(
        a=dict(b=[1, (2.5, -3)], c=dict(d=None)), e='text', f=[np.inf, -np.inf]
    )
    (tmp_path / 'a.py').write_text('\ufeffa = 1\n')  # as editors of Windows save it
    assert read_plain_config(tmp_path / 'a.py') == dict(a=1)


@pytest.mark.parametrize(
    'text',
    [
        'import os',
        "a = __import__('os').system('touch broken_in')",
        "a = dict(b=open('broken_in', 'w'))",
        'a = [print() for _ in range(3)]',
        "_base_ = 'other.py'",
        'a = (',
        'a.b = 1',
        'a = dict(**{})(1)',
        'a = dict(**{})',
        'a = {[]: 1}',
        'a = {**b}',
        'a = ' + '[' * 3000,
        'a = "\0"',
    ],
)
def test_code_is_refused_and_not_run(tmp_path, text, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'a.py').write_text(text + '\n')
    with pytest.raises(PlainConfigError, match='is not run. If you trust it, name it with --config'):
        read_plain_config(tmp_path / 'a.py')
    assert not (tmp_path / 'broken_in').exists()


def test_a_missing_config_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match='student.py, the student'):
        read_plain_config(tmp_path / 'student.py')


NAFNET = dict(type='NAFNet', img_channels=3, mid_channels=4, enc_blk_nums=[1], middle_blk_num=1, dec_blk_nums=[1])
CALL = dict(type='subprocess.check_output', args=['touch', 'broken_in'])


@pytest.mark.parametrize(
    'config, message',
    [
        (dict(model=dict(generator=CALL)), r'model.generator.type .* found .subprocess.check_output'),
        (dict(model=dict(generator={**NAFNET, 'type': 'planted.Net'})), 'found .planted.Net'),
        (dict(model=dict(generator={**NAFNET, 'type': 'planted'})), 'found .planted'),
        (dict(model=dict(generator={**NAFNET, 'act_cfg': [dict(deep=CALL)]})), r'act_cfg\[0\].deep.type'),
        (dict(model=dict(generator=NAFNET, data_preprocessor=CALL)), r'model.data_preprocessor.type'),
        (dict(model=dict(generator={**NAFNET, '_scope_': 'planted'})), 'generator._scope_ .* found .planted'),
        (dict(model=dict(generator=NAFNET), default_scope='planted'), 'default_scope .* found .planted'),
        (
            dict(model=dict(generator=NAFNET), custom_imports=dict(imports=['planted'])),
            r"import \['planted'\].*--allow",
        ),
        (dict(model=dict(generator={**NAFNET, 'weights': 'evil.pth'})), 'weights names a file'),
        (dict(model=dict(generator={**NAFNET, 'weights': 'student'})), 'weights names a file'),
        (dict(model=dict(generator={**NAFNET, 'name': 'http://127.0.0.1:9/x'})), 'name names a file'),
        (dict(model=dict(generator={**NAFNET, 'type': 5})), 'model.generator.type .* found 5'),
        (dict(model=dict(generator=[])), 'describes no student'),
    ],
)
def test_a_strangers_config_runs_nothing(tmp_path, config, message):
    """The real command, in a folder with a module that the config may name."""
    planted = "import pathlib\npathlib.Path('broken_in').touch()\n"
    (tmp_path / 'planted').mkdir()
    (tmp_path / 'planted' / '__init__.py').write_text(planted)
    (tmp_path / 'planted' / 'registry.py').write_text(planted)
    torch.save(dict(state_dict={'generator.x': torch.zeros(1)}), tmp_path / 'student.pth')
    (tmp_path / 'student.py').write_text(''.join(f'{key} = {value!r}\n' for key, value in config.items()))
    (tmp_path / 'student').write_bytes(b'a pickle without a suffix')
    Image.new('RGB', (20, 20)).save(tmp_path / 'photo.png')
    command = ['tools/restore.py', 'photo.png', '--out', 'out', '--student', 'student.pth']
    done = run_as_process(command, cwd=tmp_path, env=dict(PYTHONWARNINGS='ignore', PYTHONPATH=str(tmp_path)))
    assert done.returncode == 2 and not (tmp_path / 'broken_in').exists()
    error = next(line for line in done.stderr.splitlines() if line.startswith('error: '))
    assert 'student.py' in error

    assert re.search(message, error), error


def test_a_package_of_ones_own_is_imported_where_that_is_allowed(tmp_path, monkeypatch):
    (tmp_path / 'own_networks.py').write_text(
        'import torch\nfrom mmagic.registry import MODELS\n\n\n'
        "@MODELS.register_module(name='OwnNet')\nclass OwnNet(torch.nn.Conv2d):\n    pass\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    cfg = dict(custom_imports=dict(imports=['own_networks']), model=dict(generator=dict(type='OwnNet')))
    with pytest.raises(PlainConfigError, match='--allow-imports'):
        import_modules(cfg, 'student.py', allowed=False)
    with pytest.raises(PlainConfigError, match='found .OwnNet'):
        buildable_model(cfg, 'student.py')
    import_modules(cfg, 'student.py', allowed=True)
    for name in ('OwnNet', 'mmagic.OwnNet', 'own_networks.OwnNet'):
        assert buildable_model(dict(model=dict(generator=dict(type=name))), 'student.py')


def test_weights_to_start_from_are_left_out():
    network = dict(NAFNET, init_cfg=dict(type='Pretrained', checkpoint='x.pth'), spynet_pretrained='http://x/y.pth')
    assert buildable_model(dict(model=dict(generator=network)), 'student.py')['generator'] == NAFNET

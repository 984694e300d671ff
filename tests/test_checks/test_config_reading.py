"""Config files that cannot be read: which file, and which line."""

from pathlib import Path

import pytest

from mmsampriors.checks.config_reading import parse_config


@pytest.mark.parametrize(
    'files, message',
    [
        ({}, 'there is no config .*config.py'),
        ({'config.py': ''}, 'config.py is empty'),
        ({'config.py': 'x = 1\nmodel = dict(type=\n'}, r"config.py, line 2, cannot be read: .*'\(' was never closed"),
        ({'config.py': 'x = 1\ny = 2 * z\n'}, "config.py, line 2, cannot be read: NameError: name 'z' is not defined"),
        (
            {'config.py': "_base_ = 'base.py'\n", 'base.py': 'x = 1\n\ny = 1 / 0\n'},
            'base.py, line 3, cannot be read: ZeroDivisionError',
        ),
        (
            {'config.py': "_base_ = 'base.py'\n"},
            'config.py cannot be read: it inherits .*base.py, and there is no such',
        ),
        (
            {'config.py': "_base_ = 'base.py'\n", 'base.py': "_base_ = ['config.py']\n"},
            'base.py cannot be read: it inherits .*config.py, which inherits it in turn',
        ),
        ({'config.yaml': 'a: [1'}, 'config.yaml cannot be read: .*line 1'),
        ({'config.py': 'import sys\nsys.exit(0)\n'}, 'config.py, line 2, cannot be read: SystemExit'),
        ({'config.py': 'model = 3\n'}, 'model must be a dict, found 3'),
        ({'config.py': 'custom_hooks = [None]\n'}, 'custom_hooks must be a list of dicts'),
        ({'config.py': "param_scheduler = 'cosine'\n"}, "param_scheduler must be a dict or a list .*found 'cosine'"),
        ({'config.py': "param_scheduler = ['cosine']\n"}, 'param_scheduler must be a dict or a list of dicts'),
        ({'config.py': "train_dataloader = 'pairs'\n"}, "train_dataloader must be a dict, found 'pairs'"),
        ({'config.py': 'val_dataloader = 4\n'}, 'val_dataloader must be a dict or a list of dicts, found 4'),
        ({'config.py': "log_level = 'LOUD'\n"}, "log_level must be one of .*found 'LOUD'"),
        ({'config.yaml': "!!python/object/apply:os.mkdir ['ran']\n"}, 'config.yaml cannot be read: .*os.mkdir'),
        ({'config.py': b'\xff\xfe\x00'}, 'config.py cannot be read'),
        ({'config.py': b'\xef\xbb\xbfmodel = dict()\n'}, 'config.py cannot be read: it begins with a byte order mark'),
        (
            {'config.py': "_base_ = 'base.py'\n", 'base.py': b'\xef\xbb\xbfx = 1\n'},
            'base.py.* cannot be read: it begins with a byte order mark',
        ),
        ({'config.pth': b'PK'}, 'the config comes first, a checkpoint after it'),
    ],
)
def test_the_file_at_fault_is_named_with_its_line(tmp_path, monkeypatch, files, message):
    monkeypatch.chdir(tmp_path)
    for name, content in files.items():
        (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises((FileNotFoundError, ValueError), match=f'(?s){message}'):
        parse_config(str(tmp_path / next(iter(files), 'config.py')))
    assert not Path('ran').exists()


def test_a_config_that_can_be_read(tmp_path):
    (tmp_path / 'base.py').write_text('x = 1\n')
    (tmp_path / 'config.py').write_text("_base_ = 'base.py'\ny = _base_.x + 1\n")
    assert parse_config(str(tmp_path / 'config.py')).y == 2

"""How the tools begin and end."""

import ast
import subprocess
import sys
import time
from argparse import Namespace
from pathlib import Path

import pytest

import mmsampriors
from mmsampriors.command_line import message_of, run_tool

ROOT = Path(mmsampriors.__file__).resolve().parents[1]


def failing(error):
    def main(args):
        raise error

    return main


def test_an_error_is_one_message_and_leaves_no_file(capsys, tmp_path, monkeypatch):
    monkeypatch.setattr('tempfile.tempdir', str(tmp_path))
    monkeypatch.setattr('mmengine.logging.MMLogger._instance_dict', {})  # no run has begun
    with pytest.raises(SystemExit, match='^error: the disk is full\n.--debug shows where it came from.$'):
        run_tool(failing(OSError('the disk is full')), Namespace(debug=False))
    assert capsys.readouterr().err.startswith('loading PyTorch') and list(tmp_path.iterdir()) == []


def test_the_traceback_is_in_the_log_of_a_run_that_has_begun(tmp_path, monkeypatch):
    logging = pytest.importorskip('mmengine.logging')
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(logging.MMLogger, '_instance_dict', {})
    (tmp_path / 'work').mkdir()
    logging.MMLogger.get_instance('run', log_file='work/run.log')
    with pytest.raises(
        SystemExit, match='^error: the disk is full\n.work/run.log or --debug shows where it came from.$'
    ):
        run_tool(failing(OSError('the disk is full')), Namespace(debug=False))
    log = (tmp_path / 'work' / 'run.log').read_text()
    assert 'Traceback' in log and 'OSError: the disk is full' in log


def test_the_first_error_is_left_to_the_launcher(tmp_path, monkeypatch):
    (tmp_path / 'error').touch()
    monkeypatch.setenv('MMSAMPRIORS_ERROR', str(tmp_path / 'error'))
    shown = {'the disk is full': 1, 'another': 'error: another\n'}
    for text in ('the disk is full', 'another', 'the disk is full'):
        with pytest.raises(SystemExit) as ended:
            run_tool(failing(OSError(text)), Namespace(debug=False))
        assert str(ended.value.code).startswith(str(shown[text]))  # 1: nothing is shown here
    assert (tmp_path / 'error').read_text().startswith('error: the disk is full\n(')


def test_debug_keeps_the_traceback():
    with pytest.raises(ZeroDivisionError):
        run_tool(failing(ZeroDivisionError()), Namespace(debug=True))


def test_an_interrupt_is_no_error():
    with pytest.raises(SystemExit, match='^interrupted$'):
        run_tool(failing(KeyboardInterrupt()), Namespace(debug=False))


@pytest.mark.parametrize(
    'error, text',
    [
        (ValueError('expected a, found b'), 'expected a, found b'),
        (KeyError('X is not in the registry'), 'X is not in the registry'),
        (TypeError('unexpected keyword'), 'TypeError: unexpected keyword'),
        (AssertionError(), 'AssertionError: '),
        (OSError(28, 'No space left on device', 'work/x.pth'), "[Errno 28] No space left on device: 'work/x.pth'"),
    ],
)
def test_message_of(error, text):
    assert message_of(error) == text


def test_a_full_disk_is_named_where_the_system_does_not():
    """As mmengine's ``Config.dump(file)`` ends."""

    def dump(file):
        f = open('/dev/full', 'w')
        f.write('text')
        f.close()

    with pytest.raises(OSError) as ended:
        dump('work/config.py')
    assert ended.value.filename is None
    assert message_of(ended.value) == "[Errno 28] No space left on device: 'work/config.py'"
    assert message_of(OSError(28, 'No space left on device')) == '[Errno 28] No space left on device'


@pytest.mark.parametrize('tool', ['train.py', 'test.py', 'cache_masks.py', 'export_student.py'])
def test_options_are_read_before_anything_heavy_is_imported(tool):
    """So that a wrong option is told at once. Imports at the top of a tool are light."""
    tree = ast.parse((ROOT / 'tools' / tool).read_text())
    names = [alias.name for node in tree.body if isinstance(node, ast.Import) for alias in node.names]
    names += [node.module for node in tree.body if isinstance(node, ast.ImportFrom)]
    assert set(names) <= {'argparse', 'os', 'os.path', 'sys', 'mmsampriors.command_line', 'mmsampriors.files'}


def test_the_command_line_is_light():
    code = "import sys, mmsampriors.command_line; assert not {'torch', 'mmagic'} & set(sys.modules)"
    subprocess.run([sys.executable, '-c', code], check=True, cwd=ROOT)


@pytest.mark.slow
def test_the_first_line_comes_before_what_takes_long(tmp_path):
    begin = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, ROOT / 'tools' / 'train.py', 'nowhere.py'], cwd=tmp_path, stderr=subprocess.PIPE, text=True
    )
    assert process.stderr.readline().startswith('loading PyTorch and mmagic')
    first = time.monotonic() - begin
    rest = process.stderr.read()
    assert process.wait() == 1 and first < time.monotonic() - begin
    assert 'error: there is no config nowhere.py' in rest and 'Traceback' not in rest

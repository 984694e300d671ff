"""What is on the disk while the page is served and after it, and where it listens."""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from mmsampriors.demo.server import listen, passing_folder, sweep

ROOT = Path(__file__).parents[2]


def test_old_files_are_swept_and_new_ones_stay(tmp_path):
    for name, age in (('a/old', 100), ('b/old', 100), ('b/new', 1), ('fresh', 0)):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text('x')
        os.utime(path, (time.time() - age,) * 2)
    sweep(tmp_path, 60)
    assert sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob('*')) == ['b', 'b/new', 'fresh']
    sweep(tmp_path / 'gone', 60)


def test_the_folder_is_swept_meanwhile_and_gone_at_the_end(monkeypatch):
    monkeypatch.setenv('GRADIO_TEMP_DIR', 'restored by monkeypatch')
    before = tempfile.gettempdir()
    with pytest.raises(KeyError), passing_folder(seconds=0.2) as folder:
        assert os.environ['GRADIO_TEMP_DIR'] == tempfile.gettempdir() == str(folder)
        assert folder.stat().st_mode & 0o077 == 0
        with tempfile.NamedTemporaryFile(delete=False) as file:
            file.write(b'an upload')
        assert Path(file.name).parent == folder
        for _ in range(100):
            if not list(folder.iterdir()):
                break
            time.sleep(0.05)
        else:
            pytest.fail('the upload is still there')
        (folder / 'late').write_text('x')
        raise KeyError
    assert not folder.exists() and tempfile.gettempdir() == before


def test_a_port_that_is_taken_is_reported():
    with listen('127.0.0.1', 0) as listening:
        port = listening.getsockname()[1]
        with pytest.raises(ValueError, match=f'cannot listen on 127.0.0.1:{port} .*name a --port that is free'):
            listen('127.0.0.1', port)


@pytest.mark.parametrize('host', ['http://127.0.0.1', 'a..b', 'x' * 70, '127.0.0.1:80'])
def test_a_host_that_is_none_is_reported(host):
    with pytest.raises(ValueError, match='--host is a name or an address of this machine, found'):
        listen(host, 0)


def test_help_is_light():
    code = (
        'import runpy, sys\nsys.argv = ["demo.py", "--help"]\n'
        'try:\n    runpy.run_path("tools/demo.py", run_name="__main__")\nexcept SystemExit:\n    pass\n'
        'print(sorted({name.split(".")[0] for name in sys.modules}))'
    )
    done = subprocess.run([sys.executable, '-c', code], cwd=ROOT, capture_output=True, text=True)
    imported = set(eval(done.stdout.splitlines()[-1]))
    assert '--max-megapixels' in done.stdout
    assert not imported & {'torch', 'gradio', 'PIL', 'cv2', 'skimage', 'mmengine', 'mmagic'}


def test_without_gradio_one_error_says_what_to_install():
    code = (
        'import runpy, sys\nsys.modules["gradio"] = None\nsys.argv = ["demo.py", "--port", "0"]\n'
        'runpy.run_path("tools/demo.py", run_name="__main__")'
    )
    done = subprocess.run([sys.executable, '-c', code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2 and "pip install 'mmsampriors[demo]'" in done.stderr
    assert 'Traceback' not in done.stderr and done.stdout == ''

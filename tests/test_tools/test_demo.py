"""tools/demo.py as a process, used by people in a real browser."""

import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import skimage.data
from PIL import Image

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / 'tests' / 'test_restoring'))

from students import write_test_student

CHROMIUM = shutil.which('chromium') or shutil.which('chromium-browser') or shutil.which('google-chrome')
#: Notes each connection that the server makes.
WATCH = """
import socket
connect = socket.socket.connect

def watched(self, address):
    with open({log!r}, 'a') as log:
        log.write(f'{{address}}\\n')
    return connect(self, address)

socket.socket.connect = watched
"""


class Demo:
    """A page that is being served.

    Attributes:
        url (str): Its address.
        temporary (Path): The temporary folder of the process.
        connections (Path): What it connected to.
    """

    def __init__(self, folder: Path, *options):
        self.temporary, self.connections = folder / 'tmp', folder / 'connections'
        (folder / 'watch').mkdir()
        self.temporary.mkdir()
        self.connections.touch()
        (folder / 'watch' / 'sitecustomize.py').write_text(WATCH.format(log=str(self.connections)))
        path = os.pathsep.join(filter(None, [str(folder / 'watch'), str(ROOT), os.environ.get('PYTHONPATH')]))
        self.process = subprocess.Popen(
            [sys.executable, '-W', 'ignore', str(ROOT / 'tools' / 'demo.py'), '--port', '0', *map(str, options)],
            env={**os.environ, 'PYTHONPATH': path, 'TMPDIR': str(self.temporary), 'OMP_NUM_THREADS': '1'},
            stdout=subprocess.PIPE,
            stderr=open(folder / 'stderr', 'w'),
            text=True,
        )
        line = self.process.stdout.readline()
        assert 'the page is at' in line, (folder / 'stderr').read_text()
        self.url = re.search(r'http://127.0.0.1:\d+', line)[0]
        self.errors = folder / 'stderr'

    def end(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(30)


@pytest.fixture(scope='module')
def demo(tmp_path_factory):
    pytest.importorskip('gradio')
    folder = tmp_path_factory.mktemp('demo')
    write_test_student('nafnet', folder / 'student.pth')
    demo = Demo(folder, '--student', folder / 'student.pth', '--max-megabytes', '2', '--max-megapixels', '1')
    yield demo
    demo.end()


@pytest.fixture(scope='module')
def browser():
    sync_api = pytest.importorskip('playwright.sync_api')
    if CHROMIUM is None:
        pytest.skip('there is no Chromium: install one, such as with apt install chromium')
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=['--no-sandbox'])
        yield browser
        browser.close()

"""tools/demo.py as a process, used by people in a real browser."""

import base64
import io
import os
import re
import shutil
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import pytest
import skimage.data
from PIL import Image

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / 'tests' / 'test_restoring'))

from students import write_test_student
from tool_processes import run_as_process

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
def browser():
    pytest.importorskip('gradio')
    sync_api = pytest.importorskip('playwright.sync_api')
    if CHROMIUM is None:
        pytest.skip('there is no Chromium: install one, such as with apt install chromium')
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=['--no-sandbox'])
        yield browser
        browser.close()


@pytest.fixture(scope='module')
def demo(tmp_path_factory, browser):
    folder = tmp_path_factory.mktemp('demo')
    write_test_student('nafnet', folder / 'student.pth')
    demo = Demo(folder, '--student', folder / 'student.pth', '--max-megabytes', '2', '--max-megapixels', '1')
    yield demo
    assert demo.end() == 0 and list(demo.temporary.iterdir()) == []


class Visit:
    """Somebody at the page, in a browser of their own."""

    def __init__(self, browser, url):
        self.context = browser.new_context(viewport=dict(width=1280, height=1000))
        self.page, self.asked, self.failures = self.context.new_page(), [], []
        self.page.on('request', lambda request: self.asked.append(request.url))
        self.page.on('pageerror', lambda error: self.failures.append(str(error)))
        self.page.set_default_timeout(30_000)
        self.page.goto(url)
        self.see('#numbers .cell')

    def see(self, selector: str, text: str = ''):
        """Waits until something with that text is seen; its text."""
        found = self.page.locator(selector).filter(has_text=text).first
        found.wait_for()
        return found.inner_text()

    def wait_for_change(self, act):
        """The line of numbers after something has been done that changes it."""
        before = self.page.inner_text('#numbers')
        act()
        self.page.wait_for_function('before => document.querySelector("#numbers").innerText != before', arg=before)
        return self.page.inner_text('#numbers')

    def drop(self, file: Path):
        self.page.set_input_files('#upload input[type=file]', str(file))

    def pixels(self, selector: str) -> np.ndarray:
        """The picture that is shown, (H, W, 3)."""
        url = self.page.locator(f'{selector} img').first.get_attribute('src')
        assert url.startswith('data:image/jpeg;base64,')
        return np.asarray(Image.open(io.BytesIO(base64.b64decode(url.split(',')[1]))))

    def click_at(self, selector: str, x: float, y: float):
        """Clicks into a picture, at shares of its width and height."""
        box = self.page.locator(f'{selector} img').first.bounding_box()
        self.page.mouse.click(box['x'] + x * box['width'], box['y'] + y * box['height'])

    def close(self):
        assert self.failures == []
        self.context.close()


@pytest.fixture
def visit(browser, demo):
    visit = Visit(browser, demo.url)
    yield visit
    visit.close()


def files_of(folder):
    return {path for path in folder.rglob('*') if path.is_file() and path.stat().st_size}


def psnr_in(line):
    return [float(value) for value in re.findall(r'(\d+\.\d+) dB', line)[:2]]


def photograph(folder, name, colour, size=(96, 64)):
    """A plain photograph with a lighter square, as a file."""
    image = Image.new('RGB', size, colour)
    image.paste(Image.new('RGB', (24, 24), tuple(min(255, value + 80) for value in colour)), (20, 20))
    image.save(folder / name)
    return folder / name


def test_the_page_restores_at_once_and_shows_the_gain(visit):
    before, after = psnr_in(visit.page.inner_text('#numbers'))
    assert before == pytest.approx(20.8, abs=0.5) and after > before + 5
    shown = visit.pixels('#damaged'), visit.pixels('#restored')
    assert shown[0].shape == shown[1].shape == skimage.data.coffee().shape
    assert np.abs(shown[1] - skimage.data.coffee().astype(float)).mean() < 10


def test_more_damage_is_worse_and_comes_back(visit):
    (before, after) = psnr_in(visit.page.inner_text('#numbers'))
    slider = visit.page.locator('#severity input[type=range]')
    slider.focus()
    line = visit.wait_for_change(lambda: slider.press('End'))
    assert 'σ 50' in line
    assert psnr_in(line)[0] < before - 3 and psnr_in(line)[1] > psnr_in(line)[0] + 3
    line = visit.wait_for_change(lambda: visit.page.locator('#kind label', has_text='rain').click())
    assert 'Rain' in line and psnr_in(line)[0] < 25


def test_the_line_can_be_pulled(visit):
    visit.page.wait_for_timeout(500)  # until the pictures have their size
    restored = visit.page.locator('#slider img').nth(1)
    handle = visit.page.locator('#slider .inner').first.bounding_box()
    x, y = handle['x'] + handle['width'] / 2, handle['y'] + handle['height'] / 2
    assert '50%' in restored.get_attribute('style')
    visit.page.mouse.move(x, y)
    visit.page.mouse.down()
    visit.page.mouse.move(x - 150, y, steps=5)
    visit.page.mouse.up()
    clip = float(re.search(r'inset\(.* ([\d.]+)%\)', restored.get_attribute('style'))[1])
    assert clip < 40


def test_a_click_shows_the_mask_in_both(visit):
    plain = {name: visit.pixels(name) for name in ('#damaged', '#restored')}
    visit.click_at('#damaged', 0.5, 1 / 3)
    line = visit.see('#caption .line', 'agrees with its mask on the clean photograph')
    damaged, restored = (int(value) for value in re.findall(r'(\d+) %', line))
    assert 0 <= damaged <= 100 and 0 < restored <= 100
    for name, before in plain.items():
        shown = visit.pixels(name)
        assert shown.shape == before.shape and 0.01 < (np.abs(shown - before.astype(float)).max(2) > 30).mean() < 0.9
        height, width = shown.shape[:2]
        assert shown[round(height / 3), width // 2].min() > 200  # the white dot is where the click was
    visit.page.click('#clear')
    visit.see('#caption .line', 'Click a thing')
    assert (visit.pixels('#damaged') == plain['#damaged']).all()


def test_all_masks_are_drawn(visit):
    plain = visit.pixels('#restored')
    visit.page.click('#everything')
    line = visit.see('#caption .line', 'finds again')
    found, wanted = (int(value) for value in re.findall(r'(\d+) of (\d+)', line)[1])
    assert 3 < found <= wanted
    assert (np.abs(visit.pixels('#restored') - plain.astype(float)).max(2) > 30).mean() > 0.3


def test_a_photograph_of_ones_own_is_restored_as_it_is(visit, tmp_path):
    file = photograph(tmp_path, 'mine.png', (20, 90, 160))
    line = visit.wait_for_change(lambda: visit.drop(file))
    assert '96 by 64 pixels' in line and 'PSNR compares with a clean original' in line
    assert visit.page.locator('#kind input:checked').get_attribute('value') == 'none'
    assert np.abs(visit.pixels('#damaged') - np.asarray(Image.open(file)).astype(float)).mean() < 3
    line = visit.wait_for_change(lambda: visit.page.locator('#kind label', has_text='noise').click())
    assert len(psnr_in(line)) == 2


def upload_of(content, url):
    head = b'--line\r\nContent-Disposition: form-data; name="files"; filename="a.png"\r\n\r\n'
    headers = {'Content-Type': 'multipart/form-data; boundary=line'}
    return urllib.request.Request(f'{url}/gradio_api/upload', head + content + b'\r\n--line--', headers)


def test_bad_files_are_told_and_the_page_goes_on(visit, tmp_path, demo):
    before = visit.page.inner_text('#numbers')
    (tmp_path / 'notes <b>.png').write_text('no picture at all')
    visit.drop(tmp_path / 'notes <b>.png')
    visit.see('[data-testid=toast-body]', '.png is no image that Pillow knows')
    cut = photograph(tmp_path, 'cut.png', (9, 9, 9), (400, 300))
    cut.write_bytes(cut.read_bytes()[:300])
    visit.drop(cut)
    visit.see('[data-testid=toast-body]', 'cut off or damaged')
    visit.drop(photograph(tmp_path, 'wide.png', (9, 9, 9), (2000, 1000)))
    visit.see('[data-testid=toast-body]', 'has 2000 by 1000 pixels. This page takes 1 million at most')
    (tmp_path / 'heavy.png').write_bytes(os.urandom(2_200_000))
    visit.drop(tmp_path / 'heavy.png')
    visit.see('[data-testid=toast-body]', 'exceed the maximum allowed size')
    with pytest.raises(urllib.error.HTTPError, match='413'):  # whoever passes the page by
        urllib.request.urlopen(upload_of((tmp_path / 'heavy.png').read_bytes(), demo.url))
    assert visit.page.inner_text('#numbers') == before
    assert 'Traceback' not in visit.page.content() and 'Traceback' not in demo.errors.read_text()
    visit.drop(photograph(tmp_path, 'small.png', (90, 90, 90), (5, 5)))
    visit.see('#numbers', '5 by 5 pixels')
    visit.page.locator('#kind label', has_text='blur').click()
    visit.see('[data-testid=toast-body]', 'smaller than the blur kernel')


def test_two_people_at_once(browser, demo, tmp_path):
    colours = dict(red=(150, 20, 30), blue=(20, 40, 150))
    people = {name: Visit(browser, demo.url) for name in colours}
    files = {name: photograph(tmp_path, f'{name}.png', colour) for name, colour in colours.items()}
    for name, person in people.items():  # the second before the first has been served
        person.drop(files[name])
    for person in people.values():
        person.see('#numbers', '96 by 64 pixels')
    for person in people.values():
        person.click_at('#restored', 0.34, 0.5)
    for name, person in people.items():
        person.see('#caption .line', 'covers')
        corner = person.pixels('#slider')[-10:, -10:].reshape(-1, 3).mean(0)
        assert np.abs(corner - colours[name]).max() < 25, name
        person.page.click('#clear')
        person.see('#caption .line', 'Click a thing')
        corner = person.pixels('#restored')[-10:, -10:].reshape(-1, 3).mean(0)
        assert np.abs(corner - colours[name]).max() < 25, name
        person.close()


def test_nothing_leaves_the_machine(visit, demo):
    visit.click_at('#restored', 0.5, 0.5)
    visit.see('#caption .cell')
    outside = [url for url in visit.asked if not url.startswith((demo.url, 'data:', 'blob:'))]
    assert len(visit.asked) > 10 and outside == []
    made = demo.connections.read_text().splitlines()
    assert [address for address in made if '127.0.0.1' not in address and '::1' not in address] == []


def test_nothing_is_written_but_what_comes_in(visit, demo, tmp_path):
    """And that for a minute: test_server.py. At the end nothing is left: the fixture ``demo``."""
    before = files_of(demo.temporary)
    visit.wait_for_change(lambda: visit.drop(photograph(tmp_path, 'mine.png', (120, 90, 160))))
    visit.click_at('#restored', 0.5, 0.5)
    visit.see('#caption .line', 'covers')
    assert [path.name for path in files_of(demo.temporary) - before] == ['mine.png']


@pytest.mark.parametrize('kind', ['one of the package', 'onnx'])
def test_other_students(browser, tmp_path, kind):
    """One that is named, and one that is an ONNX file: each restores what it was trained for."""
    student, damage = 'rain', 'Rain'
    if kind == 'onnx':
        student, damage = tmp_path / 'student.onnx', 'Noise'
        write_test_student('nafnet', tmp_path / 'student.pth')
        files = [tmp_path / 'student.py', tmp_path / 'student.pth', tmp_path / 'student_again.pth']
        done = run_as_process(['tools/export_student.py', *files, '--onnx', student], cwd=tmp_path)
        assert done.returncode == 0, done.stderr
    demo = Demo(tmp_path, '--student', student)
    visit = Visit(browser, demo.url)
    line = visit.page.inner_text('#numbers')
    before, after = psnr_in(line)
    assert damage in line and after > before + 3, line
    visit.close()
    assert demo.end() == 0

"""tools/demo.py as a process, used by people in a real browser."""

import base64
import http.client
import io
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import skimage.data
from PIL import Image

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / 'tests' / 'test_inference'))

from students import write_test_student
from tool_processes import run_as_process

CHROMIUM = shutil.which('chromium') or shutil.which('chromium-browser') or shutil.which('google-chrome')
#: Notes each connection that the server makes; and a photograph of this name never comes to an end.
WATCH = """
import socket
import time
connect = socket.socket.connect

def watched(self, address):
    with open({log!r}, 'a') as log:
        log.write(f'{{address}}\\n')
    return connect(self, address)

socket.socket.connect = watched

import PIL.Image
open_image = PIL.Image.open

def hang(path, *args, **kwargs):
    if str(path).endswith('hang.png'):
        time.sleep(600)
    return open_image(path, *args, **kwargs)

PIL.Image.open = hang
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

    def end(self, ending=signal.SIGTERM) -> int:
        self.process.send_signal(ending)
        return self.process.wait(30)


@pytest.fixture(scope='module')
def browser():
    sync_api = pytest.importorskip('playwright.sync_api')
    if CHROMIUM is None:
        pytest.skip('there is no Chromium: install one, such as with apt install chromium')
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=['--no-sandbox'])
        yield browser
        browser.close()


@pytest.fixture(scope='module')
def demo(tmp_path_factory):
    pytest.importorskip('gradio')
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
        self.page.set_default_timeout(120_000)
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


HEAD = b'Content-Disposition: form-data; name="files"; filename="%s"\r\n\r\n'


def upload_of(content, url, name='a.png'):
    body = b'--line\r\n' + HEAD % name.encode() + content + b'\r\n--line--'
    headers = {'Content-Type': 'multipart/form-data; boundary=line'}
    return urllib.request.Request(f'{url}/gradio_api/upload', body, headers)


def answer_to(url, path, data=None, **headers):
    """Status and text of what the page answers; with data it is a POST of JSON."""
    if data is not None:
        data, headers = json.dumps(data).encode(), {'Content-Type': 'application/json', **headers}
    try:
        with urllib.request.urlopen(urllib.request.Request(url + path, data, headers), timeout=60) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def outcome_of(url, event: int, *inputs, **more):
    """How an event ends that a script sends: whether it succeeded, and what the page was told."""
    body = dict(dict(data=inputs, fn_index=event, session_hash=uuid.uuid4().hex), **more)
    session = body['session_hash']
    status, text = answer_to(url, '/gradio_api/queue/join', body)
    if status != 200:
        return False, text
    with urllib.request.urlopen(f'{url}/gradio_api/queue/data?session_hash={session}', timeout=60) as news:
        for line in news:
            message = json.loads(line[6:]) if line.startswith(b'data: ') else {}
            if message.get('msg') == 'process_completed':
                return message['success'], json.dumps(message['output'])


def file_data(path, **more):
    return dict(path=str(path), meta={'_type': 'gradio.FileData'}, **more)


OPENED = 1  # the event of an upload: its path


def upload(url, content=None, name='a.png') -> str:
    """Uploads as a browser does; the path on the server."""
    if content is None:
        content = io.BytesIO()
        Image.new('RGB', (24, 16), (9, 90, 160)).save(content, 'PNG')
        content = content.getvalue()
    with urllib.request.urlopen(upload_of(content, url, name), timeout=60) as answer:
        return json.load(answer)[0]


def test_only_what_was_uploaded_is_opened(demo, tmp_path):
    mine = upload(demo.url)
    time.sleep(0.5)  # gradio moves it after it has answered
    done, told = outcome_of(demo.url, OPENED, file_data(mine))
    assert done, told
    before = files_of(demo.temporary)
    private = photograph(tmp_path, 'private.png', (120, 90, 160))
    outside = [
        private,
        '/etc/passwd',
        '/dev/zero',
        '/dev/stdin',
        demo.errors,
        f'{mine}/../../../{demo.errors}',
        '',
        'x\0',
    ]
    outside += [os.path.relpath(private), f'{demo.url}/theme.css', 'http://127.0.0.1:9/x', 'file:///etc/passwd']
    for path in outside:
        asked = [[file_data(path)], [file_data(path, is_stream=True)], [dict(path=str(path))], [[file_data(path)]]]
        asked += [[file_data(mine, orig_name='a.png'), dict(a=[file_data(path)])]]
        for inputs in asked:
            done, told = outcome_of(demo.url, OPENED, *inputs)
            assert not done and 'expected a file that was uploaded' in told, (path, inputs, told)
    assert files_of(demo.temporary) == before
    # What gradio is given beside an upload's path it neither follows nor downloads.
    done, told = outcome_of(demo.url, OPENED, file_data(mine, url='http://192.0.2.1/x.png'))
    made = demo.connections.read_text()
    assert done and '192.0.2.1' not in made and "', 9)" not in made, told


@pytest.mark.parametrize('event', range(2, 11))
def test_no_other_event_opens_a_file(demo, event):
    done, told = outcome_of(demo.url, event, *[file_data('/etc/passwd')] * 4, event_data=dict(index=[0, 0]))
    assert not done and 'root:' not in told
    assert [path for path in files_of(demo.temporary) if path.name == 'passwd'] == []


def test_other_hosts_and_paths_are_refused(demo):
    for host in ('evil.example', 'evil.example:7860', '127.0.0.1.evil.example', '', 'localhost.evil.example'):
        status, told = answer_to(demo.url, '/', Host=host)
        assert status == 421 and 'this page answers to 127.0.0.1' in told, host
        assert answer_to(demo.url, '/gradio_api/queue/join', dict(data=[]), Host=host)[0] == 421
    for host in ('localhost', '127.0.0.1:1', '[::1]:7860', '192.168.0.7'):
        assert answer_to(demo.url, '/config', Host=host)[0] == 200, host
    mine = upload(demo.url)
    closed = [f'file={mine}', 'file=/etc/passwd', f'file/{mine}', 'proxy=http://127.0.0.1:9/', 'info', 'openapi.json']
    closed += ['deep_link?session_hash=x', 'component_server', 'run/opened', 'call/opened', 'stream/x', 'vibe-code']
    for path in [*(f'/gradio_api/{name}' for name in closed), '/monitoring', '/monitoring/summary', '/docs', '/login']:
        assert answer_to(demo.url, path)[0] == 404, path
        assert answer_to(demo.url, path, dict(data=[]))[0] == 404, path
    for path in ('/static/../../../../../etc/passwd', '/assets/%2e%2e/%2e%2e/%2e%2e/%2e%2e/etc/passwd', '//etc/passwd'):
        status, told = answer_to(demo.url, path)
        assert status >= 400 and 'root:' not in told, path


def test_an_upload_is_read_while_another_photograph_is_restored(tmp_path, monkeypatch):
    pytest.importorskip('gradio')
    import uvicorn

    from mmsampriors.demo import page, server

    begun, free = threading.Event(), threading.Event()

    class Waiting:
        network = SimpleNamespace(scale=1)

        def restore_pixels(self, pixels, report=None):
            begun.set()
            assert free.wait(60)
            return pixels

    monkeypatch.setenv('GRADIO_TEMP_DIR', 'restored by monkeypatch')
    with server.passing_folder() as uploads, server.listen('127.0.0.1', 0) as listening:
        app = server._application(page.Page(dict(mine=Waiting()), None, 10**6, uploads), '127.0.0.1', 2**20)
        serving = uvicorn.Server(uvicorn.Config(app, log_level='error'))
        thread = threading.Thread(target=serving.run, kwargs=dict(sockets=[listening]), daemon=True)
        thread.start()
        url = f'http://127.0.0.1:{listening.getsockname()[1]}'
        with ThreadPoolExecutor(2) as pool:
            outcomes = []
            for session in ('anna', 'bert'):
                path = upload(url)
                time.sleep(0.5)  # gradio moves it after it has answered
                done, told = outcome_of(url, OPENED, file_data(path), session_hash=session)
                assert done, told
                server.sweep(uploads, -1)
                outcomes.append(pool.submit(outcome_of, url, OPENED + 1, None, 'none', 5, 'mine', session_hash=session))
                assert begun.wait(30)
            free.set()
            for outcome in outcomes:
                done, told = outcome.result(60)
                assert done and 'restored by mine' in told, told
        serving.should_exit = True
        thread.join(30)


def test_a_request_is_no_larger_than_an_upload(demo):
    for path, header, status, told in (
        ('queue/join', ('Content-Length', '2300000'), 413, b'a request may have 2097152 bytes'),
        ('upload', ('Content-Length', '3000000'), 413, b'a request may have 2097152 bytes'),
        ('upload', ('Transfer-Encoding', 'chunked'), 411, b'expects a Content-Length'),
    ):
        connection = http.client.HTTPConnection(demo.url.removeprefix('http://'), timeout=60)
        connection.putrequest('POST', f'/gradio_api/{path}')
        connection.putheader(*header)
        connection.endheaders()  # it is refused before anything else is sent
        answer = connection.getresponse()
        assert answer.status == status and told in answer.read()


@pytest.mark.parametrize('ending', [signal.SIGTERM, signal.SIGINT])
def test_a_job_that_hangs_does_not_keep_the_page_alive(tmp_path, ending):
    pytest.importorskip('gradio')
    write_test_student('nafnet', tmp_path / 'student.pth')
    demo = Demo(tmp_path, '--student', tmp_path / 'student.pth')
    path = upload(demo.url, name='hang.png')
    time.sleep(0.5)
    body = dict(data=[file_data(path)], fn_index=OPENED, session_hash='abc')
    assert answer_to(demo.url, '/gradio_api/queue/join', body)[0] == 200
    time.sleep(2)
    begin = time.monotonic()
    assert demo.end(ending) == 0 and time.monotonic() - begin < 5
    assert list(demo.temporary.iterdir()) == []


def printed_at_the_start(*options):
    """Exit status and what demo.py prints to stderr where it ends at once."""
    command = [sys.executable, '-W', 'ignore', str(ROOT / 'tools' / 'demo.py'), *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert 'Traceback' not in done.stderr and done.stdout == ''
    return done.returncode, done.stderr


@pytest.mark.parametrize(
    'options, text',
    [
        (['--port', '70000'], '--port: expected a port from 0 to 65535, found 70000'),
        (['--host', ''], '--host: expected a name or an address, found nothing'),
        (['--host', 'http://127.0.0.1'], "--host is a name or an address of this machine, found 'http://127.0.0.1'"),
        (['--host', '192.0.2.1'], 'cannot listen on 192.0.2.1:7860 (Cannot assign requested address): --host is an'),
    ],
)
def test_where_it_cannot_listen_one_error_says_why(options, text):
    status, told = printed_at_the_start(*options)
    assert status == 2 and text in told and told.count('error') == 1


def test_a_port_in_use_is_reported():
    with socket.socket() as taken:
        taken.bind(('127.0.0.1', 0))
        taken.listen()
        port = taken.getsockname()[1]
        status, told = printed_at_the_start('--port', str(port))
    assert status == 2 and f'cannot listen on 127.0.0.1:{port} (Address already in use): name a --port' in told


def test_bad_files_are_reported_and_the_page_goes_on(visit, tmp_path, demo):
    before = visit.page.inner_text('#numbers')
    (tmp_path / 'notes <b>.png').write_text('no picture at all')
    visit.drop(tmp_path / 'notes <b>.png')
    visit.see('[data-testid=toast-body]', '.png is no image of a format that is read')
    cut = photograph(tmp_path, 'cut.png', (9, 9, 9), (400, 300))
    cut.write_bytes(cut.read_bytes()[:300])
    visit.drop(cut)
    visit.see('[data-testid=toast-body]', 'cut off or damaged')
    visit.drop(photograph(tmp_path, 'wide.png', (9, 9, 9), (2000, 1000)))
    visit.see('[data-testid=toast-body]', 'has 2000 by 1000 pixels, and 1 million are allowed')
    (tmp_path / 'heavy.png').write_bytes(os.urandom(2_200_000))
    visit.drop(tmp_path / 'heavy.png')
    visit.see('[data-testid=toast-body]', 'exceed the maximum allowed size')
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

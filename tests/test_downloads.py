"""Checkpoints by URL: a server of this machine gives good files, and others."""

import functools
import http.server
import os
import sys
import threading
from pathlib import Path

import pytest
import torch
from mmengine.runner import CheckpointLoader
from PIL import Image
from safetensors.torch import save_file

sys.path.insert(0, str(Path(__file__).parent / 'test_inference'))

from students import write_test_student
from tool_processes import run_as_process

from mmsampriors.checkpoints import download_checkpoint, read_weights

WEIGHTS = {'generator.x': torch.linspace(0, 1, 8)}


class Bomb:
    """What a malicious file makes pickle call."""

    def __init__(self, folder):
        self.folder = folder

    def __reduce__(self):
        return os.system, (f'touch {self.folder}/broken_in',)


class Handler(http.server.SimpleHTTPRequestHandler):
    asked = []

    def do_GET(self):
        self.asked.append(self.path)
        super().do_GET()

    def copyfile(self, source, outputfile):
        content = source.read()
        outputfile.write(content[: len(content) // 2] if 'cut' in self.path else content)

    def log_message(self, *args):
        pass


@pytest.fixture
def server(tmp_path, monkeypatch):
    """The folder that is served, its address, and an empty cache of torch.hub."""
    folder = tmp_path / 'served'
    folder.mkdir()
    monkeypatch.setenv('TORCH_HOME', str(tmp_path / 'cache'))
    Handler.asked = []
    server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), functools.partial(Handler, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield folder, f'http://127.0.0.1:{server.server_port}'
    server.shutdown()


def by_mmengine(url):
    return CheckpointLoader.load_checkpoint(url, map_location='cpu')['state_dict']


@pytest.mark.parametrize('read', [read_weights, by_mmengine])
def test_a_url_is_read_like_a_file(server, read, tmp_path):
    folder, address = server
    torch.save(dict(state_dict=WEIGHTS), folder / 'good.pth')
    content = bytearray((folder / 'good.pth').read_bytes())
    content[content.index(WEIGHTS['generator.x'].numpy().tobytes()) + 5] ^= 1
    (folder / 'flipped.pth').write_bytes(content)
    (folder / 'cut.pth').write_bytes(content)
    for legacy in (False, True):
        name = f'bomb{legacy}.pth'
        torch.save(dict(state_dict=Bomb(folder)), folder / name, _use_new_zipfile_serialization=not legacy)
        with pytest.raises(ValueError, match='loading that could run code'):
            read(f'{address}/{name}')
    assert not (folder / 'broken_in').exists()
    for _ in range(2):
        assert torch.equal(read(f'{address}/good.pth?download=1')['generator.x'], WEIGHTS['generator.x'])
    assert Handler.asked.count('/good.pth?download=1') == 1, 'it is downloaded once'
    with pytest.raises(ValueError, match='checksum'):
        read(f'{address}/flipped.pth')
    for name, message in (('cut.pth', 'bytes came'), ('nothing.pth', '404')):
        with pytest.raises(FileNotFoundError, match=f'{name} cannot be downloaded to .*{message}'):
            read(f'{address}/{name}')
    left = [path for path in (tmp_path / 'cache').rglob('*') if path.is_file() and path.suffix != '.lock']
    assert sorted({path.name for path in left}) == ['bombFalse.pth', 'bombTrue.pth', 'flipped.pth', 'good.pth']


def test_safetensors_by_url_and_other_schemes(server):
    folder, address = server
    save_file(WEIGHTS, folder / 'good.safetensors')
    assert torch.equal(read_weights(f'{address}/good.safetensors')['generator.x'], WEIGHTS['generator.x'])
    with pytest.raises(ValueError, match='begins with http:// or https://, found s3://x'):
        read_weights('s3://x/y.pth')


def test_files_of_one_name_are_two_files(server):
    folder, address = server
    for name in ('a', 'b'):
        (folder / name).mkdir()
        (folder / name / 'iter_1.pth').write_text(name)
        (folder / name / f'net-{name * 8}.pth').write_text(name)
    paths = [download_checkpoint(f'{address}/{name}/iter_1.pth') for name in ('a', 'b')]
    assert [path.read_text() for path in paths] == ['a', 'b']
    zoo = download_checkpoint(f'{address}/a/net-aaaaaaaa.pth')
    assert zoo.parent == Path(torch.hub.get_dir()) / 'checkpoints', 'where torch.hub has it'


def test_a_tool_runs_nothing_that_a_url_holds(server, tmp_path):
    folder, address = server
    write_test_student('nafnet', tmp_path / 'student.pth')
    torch.save(dict(state_dict=Bomb(tmp_path)), folder / 'bomb.pth')
    Image.new('RGB', (20, 20)).save(tmp_path / 'photo.png')
    url = f'{address}/bomb.pth'
    for command in (
        ['tools/export_student.py', 'student.py', url, 'out.pth'],
        [
            'tools/restore.py',
            'photo.png',
            '--out',
            'out',
            '--config',
            'student.py',
            '--checkpoint',
            f'{address}/bomb.pth',
        ],
    ):
        done = run_as_process(command, cwd=tmp_path, env=dict(PYTHONWARNINGS='ignore'))
        assert done.returncode and not (tmp_path / 'broken_in').exists()
        assert 'bomb.pth holds an object of posix.system' in done.stderr, done.stderr

"""Which paths, hosts and files the page takes. With requests to the real page: tests/test_tools/test_demo.py."""

import os

import pytest

pytest.importorskip('gradio')

from mmsampriors.demo.guard import Guard, is_upload


def test_only_regular_files_of_the_folder_are_uploads(tmp_path):
    folder, outside = tmp_path / 'uploads', tmp_path / 'uploads2'
    (folder / 'a').mkdir(parents=True)
    (folder / 'a' / 'photo.png').write_text('x')
    outside.write_text('x')
    (folder / 'link.png').symlink_to(outside)
    os.mkfifo(folder / 'pipe.png')
    assert is_upload(str(folder / 'a' / 'photo.png'), folder)
    wrong = [folder, folder / 'a', folder / 'link.png', folder / 'pipe.png', folder / '..' / 'uploads2', '/dev/zero']
    for path in [*map(str, wrong), '', 'a\0b', 'x' * 5000, None, 3, ['x'], 'http://x/y']:
        assert not is_upload(path, folder), path


@pytest.mark.parametrize(
    'path, taken',
    [
        ('/', True),
        ('/gradio_api/queue/join', True),
        ('/gradio_api/heartbeat/abc', True),
        ('/assets/index.js', True),
        ('/gradio_api/file=/etc/passwd', False),
        ('/gradio_api/heartbeat/a/b', False),
        ('/gradio_api/run/opened', False),
        ('/x/gradio_api/queue/join', False),
    ],
)
def test_paths(path, taken):
    scope = dict(type='http', method='GET', path=path, headers=[(b'host', b'127.0.0.1:7860')])
    assert (Guard(None, '127.0.0.1', 1)._refuse(scope) is None) is taken

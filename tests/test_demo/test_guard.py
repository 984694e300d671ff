"""Which paths, hosts and files the page takes. With requests to the real page: tests/test_tools/test_demo.py."""

import asyncio
import os
from contextlib import nullcontext

import pytest

gr = pytest.importorskip('gradio')

from starlette.applications import Starlette
from starlette.routing import Route

from mmsampriors.demo.guard import FORGED, Guard, GuardedBlocks, is_upload


def test_only_regular_files_of_the_folder_are_uploads(tmp_path):
    folder, outside = tmp_path / 'uploads', tmp_path / 'uploads2'
    (folder / 'a').mkdir(parents=True)
    (folder / 'a' / 'photo.png').write_text('x')
    outside.write_text('x')
    (folder / 'link.png').symlink_to(outside)
    os.mkfifo(folder / 'pipe.png')
    assert is_upload(str(folder / 'a' / 'photo.png'), folder)
    wrong = [folder, folder / 'a', folder / 'link.png', folder / 'pipe.png', folder / '..' / 'uploads2', '/dev/zero']
    wrong += [folder / ('x' * 300), folder / ('x/' * 3000)]
    for path in [*map(str, wrong), '', 'a\0b', 'x' * 5000, None, 3, ['x'], 'http://x/y']:
        assert not is_upload(path, folder), path


@pytest.mark.parametrize('debug', [False, True])
def test_a_request_that_fails_prints_one_line(debug, capsys):
    """uvicorn would print a hundred for each forged one."""

    async def fail(request):
        raise KeyError('fn_index')

    sent = []

    async def send(message):
        sent.append(message)

    scope = dict(type='http', method='GET', path='/', headers=[(b'host', b'localhost')])
    guarded = Guard(Starlette(routes=[Route('/', fail)]), 'localhost', 1, debug)(scope, None, send)
    with pytest.raises(KeyError) if debug else nullcontext():
        asyncio.run(guarded)
    assert capsys.readouterr().err.count('\n') == (0 if debug else 1)
    assert [message.get('status') for message in sent] == [400, None] and sent[1]['body'] == FORGED.encode()


@pytest.mark.parametrize('event_data', ['abc', {}])
def test_a_click_that_is_none_is_one_sentence(event_data, capsys):
    async def clicked(picked: gr.SelectData):
        return None

    with GuardedBlocks() as blocks:
        picture = gr.Image()
        picture.select(clicked, None, picture)
    event = next(iter(blocks.fns.values()))
    with pytest.raises(gr.Error, match=FORGED):
        asyncio.run(blocks.process_api(event, [], event_data=gr.EventData(None, event_data)))
    assert capsys.readouterr().err.count('\n') == 1


@pytest.mark.parametrize('debug', [False, True])
@pytest.mark.parametrize(
    'inputs, message',
    [
        ([3], FORGED),
        ([], FORGED),
        ([float('nan')], 'expected finite numbers'),
        ([dict(path='/etc/passwd')], 'expected a file that was uploaded'),
    ],
)
def test_what_the_front_end_does_not_send_is_one_sentence(tmp_path, inputs, message, debug, capsys):
    with GuardedBlocks() as blocks:
        blocks.uploads, blocks.debug = tmp_path, debug
        file = gr.File()
        file.upload(lambda given: None, file)
    event = next(iter(blocks.fns.values()))
    with pytest.raises(Exception, match=None if debug and message == FORGED else message) as error:
        asyncio.run(blocks.preprocess_data(event, inputs, None))
    quiet = isinstance(error.value, gr.Error) and not error.value.print_exception
    assert quiet is not (debug and message == FORGED)
    assert ('a request failed: ' in capsys.readouterr().err) is (message == FORGED and not debug)


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

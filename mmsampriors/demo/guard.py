"""What the page refuses: requests that its own front end does not send, and files that nobody uploaded."""

import html
import ipaddress
import math
import os
import re
import socket
import sys
from pathlib import Path
from typing import Iterator, Optional

import gradio as gr
from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse

#: All that the page's front end asks for. gradio has more routes: they serve files, run functions without the queue,
#: and fetch from other servers.
PATHS = re.compile(
    r'/|/(config|theme\.css|favicon\.ico)|/(assets|static)/.*|/gradio_api/(app_id|startup-events)/?'
    r'|/gradio_api/(heartbeat/[^/]+|queue/(join|data)|upload|upload_progress|cancel|reset)/?'
)
#: What is said of inputs that the page's front end does not send.
FORGED = 'this request does not fit the page: reload it. The terminal says why'
FORM_BYTES = 2**16  # of a request beside the file that it uploads


class Guard:
    """ASGI middleware that answers foreign requests itself.

    A name that another site's DNS server has pointed at this machine (DNS rebinding) is in ``Host``: this page's own
    names and plain addresses, which no DNS server gives out, are all that it answers to.

    Args:
        app (callable): The ASGI application.
        host (str): The address that the page listens on.
        most_bytes (int): Of an upload.
        debug (bool): Whether the terminal gets the traceback of a request that fails. Forged requests do, and uploads
            that are broken off. Without it is one line.
    """

    def __init__(self, app, host: str, most_bytes: int, debug: bool = False):
        self.app, self.most_bytes, self.debug = app, most_bytes, debug
        self.names = {host.lower(), 'localhost', socket.gethostname().lower()}

    async def __call__(self, scope, receive, send):
        refusal = self._refuse(scope) if scope['type'] == 'http' else None
        failed = False

        async def send_unless_failed(message):
            nonlocal failed
            failed |= message.get('status') == 500
            if not failed:
                await send(message)

        try:
            await (refusal or self.app)(scope, receive, send_unless_failed)
        except Exception as error:  # starlette has answered with status 500, and without a reason
            if failed:
                await PlainTextResponse(FORGED, 400)(scope, receive, send)
            if self.debug:
                raise
            log_failure(error)

    def _refuse(self, scope) -> Optional[PlainTextResponse]:
        headers = Headers(scope=scope)
        host = _without_port(headers.get('host', ''))
        if not (host in self.names or _is_address(host)):
            names = ', '.join(sorted(self.names))
            return PlainTextResponse(
                f'this page answers to {names} and addresses such as 127.0.0.1, found the Host {host[:100]!r}: start '
                'it with --host and the name that you use',
                421,
            )
        if not PATHS.fullmatch(scope['path']):
            return PlainTextResponse('this page has no such path', 404)
        if scope['method'] == 'POST':
            return self._refuse_length(headers.get('content-length', ''))
        return None

    def _refuse_length(self, length) -> Optional[PlainTextResponse]:
        if not re.fullmatch('[0-9]{1,15}', length):
            return PlainTextResponse('this page expects a Content-Length', 411)
        if int(length) > self.most_bytes + FORM_BYTES:
            return PlainTextResponse(f'a request may have {self.most_bytes} bytes, found {length}', 413)
        return None


class GuardedBlocks(gr.Blocks):
    """A page that opens only what was uploaded to it.

    gradio copies a file that a request names before any handler sees it, and a URL is downloaded. It checks the path
    only where ``Blocks.launch`` has been called, which :mod:`.server` cannot use.
    """

    uploads: Optional[Path] = None
    debug = False

    async def preprocess_data(self, block_fn, inputs, *args, **kwargs):
        for path in _paths(inputs):
            if not is_upload(path, self.uploads):
                raise gr.Error('expected a file that was uploaded to this page: drop it again', print_exception=False)
        if not all(map(math.isfinite, _numbers(inputs))):
            raise gr.Error('expected finite numbers', print_exception=False)
        try:
            return await super().preprocess_data(block_fn, inputs, *args, **kwargs)
        except Exception as error:
            if isinstance(error, gr.Error) and not self.debug:
                raise gr.Error(html.escape(error.message), print_exception=False) from None
            self._report(error)

    async def call_function(self, *args, **kwargs):
        try:  # here gradio reads where a click was
            return await super().call_function(*args, **kwargs)
        except Exception as error:
            self._report(error)

    def _report(self, error):
        if self.debug or isinstance(error, gr.Error):
            raise error
        log_failure(error)
        raise gr.Error(FORGED, print_exception=False) from None


def log_failure(error: Exception):
    """One line in the terminal, of a request that failed for no reason that the page foresees."""
    text = ' '.join(str(error).split())[:300]
    print(f'a request failed: {type(error).__name__}: {text} (--debug shows more)', file=sys.stderr, flush=True)


def is_upload(path, folder: Path) -> bool:
    """Whether a path is that of a regular file in the upload folder, links resolved."""
    try:
        real = Path(os.path.realpath(path))
        return real.is_relative_to(os.path.realpath(folder)) and real.is_file()
    except (OSError, TypeError, ValueError):  # a name that is too long, no text, or with a null character
        return False


def _numbers(node) -> Iterator:
    """The floating point numbers in the inputs of an event: JSON as Python reads it has NaN too."""
    if isinstance(node, float):
        yield node
    for value in node.values() if isinstance(node, dict) else node if isinstance(node, (list, tuple)) else ():
        yield from _numbers(value)


def _paths(node) -> Iterator:
    """What is named ``path`` anywhere in the inputs of an event."""
    if isinstance(node, dict) and 'path' in node:
        yield node['path']
    for value in node.values() if isinstance(node, dict) else node if isinstance(node, (list, tuple)) else ():
        yield from _paths(value)


def _without_port(host: str) -> str:
    return re.sub(r':[0-9]*$', '', host.strip()).strip('[]').lower()


def _is_address(host) -> bool:
    try:
        return bool(ipaddress.ip_address(host))
    except ValueError:
        return False

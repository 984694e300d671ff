"""Serves the page on this machine, and leaves nothing behind.

What ``gradio.Blocks.launch`` does is done here, because launching (gradio 6.17) asks the page for itself by HTTP: that
fails for port 0, for IPv6, and wherever ``HTTP_PROXY`` is set, as on most clusters. ``Blocks(delete_cache=...)`` leaves
uploads that were cut off, which :func:`sweep` removes. What launching checks, :mod:`.guard` does.
"""

import contextlib
import errno
import os
import signal
import socket
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Iterator, Optional

#: An upload is read at once, and its file is removed after so many seconds. Not sooner: gradio gives the same content
#: the same path, so a file that one person has done with may be another's that is about to be read.
SECONDS_ON_DISK = 60
HINTS = {
    errno.EADDRINUSE: 'name a --port that is free (0: any)',
    errno.EADDRNOTAVAIL: '--host is an address of this machine, such as 127.0.0.1, or 0.0.0.0 for all that it has',
    errno.EACCES: 'name a --port from 1024',
}


@contextlib.contextmanager
def passing_folder(seconds: float = SECONDS_ON_DISK) -> Iterator[Path]:
    """A private temporary folder in which gradio keeps its files, swept all the time and removed at the end.

    Within, it is the temporary folder of the whole process too: there gradio writes what is still coming in.

    Args:
        seconds (float): Files that are older are removed.
    """
    before, done = tempfile.tempdir, threading.Event()
    with tempfile.TemporaryDirectory(prefix='mmsampriors-demo-') as folder:
        os.environ['GRADIO_TEMP_DIR'] = tempfile.tempdir = folder

        def sweep_all_the_time():
            while not done.wait(seconds / 4):
                sweep(Path(folder), seconds)

        sweeper = threading.Thread(target=sweep_all_the_time, daemon=True)
        sweeper.start()
        try:
            yield Path(folder)
        finally:
            done.set()
            sweeper.join()
            tempfile.tempdir = before


def sweep(folder: Path, seconds: float):
    """Removes the files below a folder that were last written more than ``seconds`` ago, and empty folders."""
    for path in sorted(folder.rglob('*'), reverse=True):  # what a folder holds comes before it
        with contextlib.suppress(OSError):  # gone already, or a folder that is not empty
            if path.is_dir():
                path.rmdir()
            elif time.time() - path.stat().st_mtime > seconds:
                path.unlink()


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens.

    Args:
        host (str): Address, such as 127.0.0.1.
        port (int): 0: any that is free.

    Raises:
        ValueError: The port is taken, or the host is no address of this machine.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listening = socket.socket(family, socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise ValueError(f'--host is a name or an address of this machine, found {host!r} ({_reason(error)})') from None
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind(address)
        listening.listen()  # who asks before the page is ready waits
    except OSError as error:
        listening.close()
        hint = HINTS.get(error.errno, 'name another --port (0: any that is free) or --host')
        raise ValueError(f'cannot listen on {host}:{port} ({_reason(error)}): {hint}') from None
    return listening


def _reason(error):
    return getattr(error, 'strerror', None) or str(error)


def serve(
    *,
    student: Optional[str],
    sam: str,
    sam_checkpoint: Optional[str],
    device: Optional[str],
    host: str,
    port: int,
    most_bytes: int,
    most_pixels: int,
    debug: bool = False,
    allow_imports: bool = False,
):
    """Serves the page until it is interrupted, and ends the process: Python would wait for a job that hangs.

    Args:
        student (str, optional): Who restores; those of the package if left out.
        sam (str): Key of ``SAM_BUILDERS``; built when somebody first asks for masks.
        sam_checkpoint (str, optional): Its weights.
        device (str, optional): Of torch.
        host (str): Address to listen on.
        port (int): 0: any that is free.
        most_bytes (int): Of an upload.
        most_pixels (int): Of a photograph.
        debug (bool): Whether the terminal gets tracebacks.
        allow_imports (bool): Whether the modules are imported that the student's config names.

    Raises:
        ImportError: gradio, or the package of the SAM, is not installed.
        ValueError: The student cannot be used, there is no such SAM, or the port is taken.
        FileNotFoundError: A file is missing.
    """
    # Ended by this signal, Python would leave the folder behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    # gradio reads these when it is imported, and calls home without the first.
    os.environ.update(GRADIO_ANALYTICS_ENABLED='False', HF_HUB_DISABLE_TELEMETRY='1')
    with passing_folder() as uploads, contextlib.closing(listen(host, port)) as listening:
        _import_gradio()
        from .page import Page
        from .scene import find_students
        from .segmenter import Segmenter

        segmenter = Segmenter(sam, sam_checkpoint, device)  # first: a wrong name is reported before a student is built
        page = Page(find_students(student, device, allow_imports), segmenter, most_pixels, uploads, debug)
        app = _application(page, host, most_bytes)
        address = '[' + host + ']' if ':' in host else host
        print(f'the page is at http://{address}:{listening.getsockname()[1]} (Ctrl+C ends it)', flush=True)
        _run(app, listening)
    os._exit(0)


def _import_gradio():
    try:
        import gradio  # noqa: F401
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"the page needs gradio, and {error.name} is not installed: pip install 'mmsampriors[demo]'"
        ) from None


def _application(page, host, most_bytes):
    import fastapi
    import gradio

    from .guard import Guard
    from .page import look

    app = gradio.mount_gradio_app(
        fastapi.FastAPI(openapi_url=None),
        page.build(),
        path='/',
        footer_links=[],
        show_error=False,
        max_file_size=most_bytes,
        ssr_mode=False,
        enable_monitoring=False,
        pwa=False,
        mcp_server=False,
        **look(),
    )
    return Guard(app, host, most_bytes, page.debug)


def _run(app, listening):
    """Serves in a thread, so that signals reach this one whatever the server does."""
    import uvicorn

    server = uvicorn.Server(uvicorn.Config(app, log_level='error'))
    serving = threading.Thread(target=server.run, kwargs=dict(sockets=[listening]), daemon=True)
    serving.start()
    with contextlib.suppress(KeyboardInterrupt, SystemExit):
        serving.join()
        raise RuntimeError('the server of the page ended by itself')

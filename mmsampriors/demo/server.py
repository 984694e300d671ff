"""Serves the page on this machine, and leaves nothing behind."""

import contextlib
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
    family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
        listening.listen()  # who asks before the page is ready waits
    except OSError as error:
        listening.close()
        raise ValueError(
            f'cannot listen on {host}:{port} ({error.strerror}): name a --port that is free (0: any), and a --host of '
            'this machine'
        ) from None
    return listening


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
):
    """Serves the page until it is interrupted.

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

    Raises:
        ImportError: gradio, or the package of the SAM, is not installed.
        ValueError: The student cannot be used, there is no such SAM, or the port is taken.
        FileNotFoundError: A file is missing.
    """
    # Ended by this signal, Python would leave the folder behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    # gradio reads these when it is imported, and calls home without the first.
    os.environ.update(GRADIO_ANALYTICS_ENABLED='False', HF_HUB_DISABLE_TELEMETRY='1')
    with passing_folder(), contextlib.closing(listen(host, port)) as listening:
        _import_gradio()
        app = _application(student, sam, sam_checkpoint, device, most_bytes, most_pixels, debug)
        address = '[' + host + ']' if ':' in host else host
        print(f'the page is at http://{address}:{listening.getsockname()[1]} (Ctrl+C ends it)', flush=True)
        _run(app, listening)


def _import_gradio():
    try:
        import gradio  # noqa: F401
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"the page needs gradio, and {error.name} is not installed: pip install 'mmsampriors[demo]'"
        ) from None


def _application(student, sam, sam_checkpoint, device, most_bytes, most_pixels, debug):
    import fastapi
    import gradio

    from .page import Page, look
    from .segmenter import Segmenter
    from .students import find_students

    segmenter = Segmenter(sam, sam_checkpoint, device)  # first: a wrong name is told before a student is built
    page = Page(find_students(student, device), segmenter, most_pixels, debug)
    return gradio.mount_gradio_app(
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


def _run(app, listening):
    import uvicorn

    # Pages keep a connection open for news: ending does not wait for them.
    server = uvicorn.Server(uvicorn.Config(app, log_level='error', timeout_graceful_shutdown=1))
    with contextlib.suppress(KeyboardInterrupt):
        server.run(sockets=[listening])

"""Files that are there whole or not at all, and what identifies them."""

import contextlib
import hashlib
import os
import secrets
from pathlib import Path
from typing import Iterator

#: What ends the name of a file that is being written; a process that is killed leaves one behind.
PART = '.part'


@contextlib.contextmanager
def written_whole(path) -> Iterator[Path]:
    """Gives the body another name to write to, and renames the file when the body is through.

    The other name is hidden and new each time, so any number of processes may write one file. If the body fails, the
    half-written file is removed.

    Args:
        path (str | Path): The file. Its folder is made.

    Raises:
        OSError: It cannot be written; ``filename`` says which.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f'.{path.name}.{secrets.token_hex(4)}{PART}')
    try:
        yield part
        os.replace(part, path)
    except OSError as error:
        # Of a full disk the system does not say which file, and the other name tells a user nothing.
        if error.errno and error.filename in (None, str(part)):
            error.filename, error.filename2 = str(path), None
        raise
    finally:
        with contextlib.suppress(OSError):
            part.unlink()


def write_whole(path, content):
    """Writes a file whole or not at all.

    Args:
        path (str | Path): The file. Its folder is made.
        content (str | bytes): What it holds.
    """
    with written_whole(path) as part:
        part.write_bytes(content.encode() if isinstance(content, str) else content)


def sha256_of(path) -> str:
    """SHA-256 of a file of any size, in hexadecimal."""
    digest = hashlib.sha256()
    with open(path, 'rb') as file:
        while chunk := file.read(2**20):
            digest.update(chunk)
    return digest.hexdigest()

"""Files written whole, their hashes, and the share of a list that one process takes."""

import argparse
import contextlib
import errno
import fcntl
import hashlib
import json
import os
import re
import secrets
import socket
import sys
import tempfile
import time
from errno import EACCES, EAGAIN
from pathlib import Path
from typing import Dict, Iterable, Iterator, Optional, Tuple

#: Key of an exported student's config: the SHA-256 of its safetensors file, which has no checksum of its own.
HASH_KEY = 'safetensors_sha256'
#: What ends the name of a file that is being written; a process that is killed leaves one behind.
PART = '.part'
LONGEST_SHOWN = 200


@contextlib.contextmanager
def written_whole(path) -> Iterator[Path]:
    """Gives the body another name to write to, and renames the file when the body is through.

    The other name is hidden and new each time, so any number of processes may write one file. If the body fails, the
    half-written file is removed.

    Args:
        path (str | Path): The file. Its folder is made.

    Raises:
        OSError: It cannot be written; ``filename`` says which.
        ValueError: It is the address of a storage service.
    """
    refuse_remote(path, 'a file')
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # Of a long name nothing: names end at 255 bytes.
    shown = path.name if len(os.fsencode(path.name)) <= LONGEST_SHOWN else ''
    part = path.with_name(f'.{shown}.{secrets.token_hex(4)}{PART}')
    try:
        yield part
        os.replace(part, path)
    except OSError as error:
        # Of a full disk the system does not say which file, and the other name means nothing to a user.
        if error.errno and error.filename in (None, str(part)):
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise
    finally:
        with contextlib.suppress(OSError):
            part.unlink()


def check_writable(path):
    """Finds out before the work whether its result can be written.

    Args:
        path (str | Path): A file that is to be.

    Raises:
        OSError: It cannot be written; ``filename`` says which.
    """
    path = Path(path)
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, 'expected the name of a file, and this is a folder', str(path))
    refuse_unwritable(path.parent)


def refuse_remote(path, what: str):
    """Refuses the address of a storage service, such as ``s3://``, which the file system would take for a folder.

    Args:
        path (str | Path): The file or folder.
        what (str): What it is, for the message.

    Raises:
        ValueError: It is an address.
    """
    # One slash: that is what a Path leaves. Two letters and more: one is a drive.
    if re.match(r'([A-Za-z][A-Za-z0-9+.-]+:)+/', os.fspath(path)):
        raise ValueError(
            f'expected {what} in the file system, found the address {os.fspath(path)}: mount it and name the folder '
            'where it is mounted, or copy it to a disk'
        )


def refuse_unwritable(folder):
    """Looks, before the work, whether files can be written below a folder; makes nothing.

    Args:
        folder (str | Path): It may have to be made.

    Raises:
        OSError: They cannot; ``filename`` says which folder, or what stands in its place.
        ValueError: It is the address of a storage service.
    """
    refuse_remote(folder, 'a folder for the results')
    folder = Path(folder)
    there = next(path for path in (folder, *folder.absolute().parents) if os.path.lexists(path))
    if not there.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, 'expected a folder for the results, and this is none', str(there))
    if not os.access(there, os.W_OK | os.X_OK):
        raise PermissionError(errno.EACCES, 'no file can be written into this folder', str(there))


def write_whole(path, content):
    """Writes a file whole or not at all.

    Args:
        path (str | Path): The file. Its folder is made.
        content (str | bytes): What it holds.
    """
    with written_whole(path) as part:
        part.write_bytes(content.encode('utf-8', 'surrogateescape') if isinstance(content, str) else content)


ABANDONED_SECONDS = 3600


def remove_abandoned(parts: Iterable[Path]):
    """Deletes those of some half-written files that are more than an hour old: a killed process left them."""
    for part in parts:
        with contextlib.suppress(FileNotFoundError):  # another process was faster
            if time.time() - part.stat().st_mtime > ABANDONED_SECONDS:
                part.unlink()


def sha256_of(path) -> str:
    """SHA-256 of a file of any size, in hexadecimal."""
    digest = hashlib.sha256()
    with open(path, 'rb') as file:
        while chunk := file.read(2**20):
            digest.update(chunk)
    return digest.hexdigest()


def refuse_other_hash(path, sha256: Optional[str]):
    """Raises a ValueError for a file with another SHA-256 than ``sha256``, which its config has under ``HASH_KEY``."""
    if sha256 and sha256_of(path) != sha256:
        raise ValueError(
            f'the weights {path} are not those that its config was exported with: their SHA-256 is {sha256_of(path)}, '
            f'and {HASH_KEY} is {sha256}. They are damaged or of another student: copy both files again'
        )


def shard_of(text: str) -> Tuple[int, int]:
    """'I/N' as (I, N), for argparse: every N-th piece of work from the I-th (from 0) on.

    Raises:
        argparse.ArgumentTypeError: It is no such text, or I is not from 0 to N - 1.
    """
    index, _, count = text.partition('/')
    if not (index.isdecimal() and count.isdecimal() and int(index) < int(count)):
        raise argparse.ArgumentTypeError(f'expected I/N with I from 0 to N - 1, such as 0/4; found {text!r}')
    return int(index), int(count)


LOCK = 'lock'


@contextlib.contextmanager
def locked(folder, what: str) -> Iterator[None]:
    """Lets one process at a time work in a folder. The lock ends with the process, however that ends.

    Args:
        folder (str | Path): The folder. It is made.
        what (str): What is done in it, for the message.

    Raises:
        OSError: It cannot be locked; ``filename`` says what is in the way.
        RuntimeError: Another process has the lock.
    """
    path = Path(folder) / FOLDER / LOCK
    path.parent.mkdir(parents=True, exist_ok=True)
    # Not through a link: what it leads to would be emptied.
    with open(path, 'a+', opener=lambda name, flags: os.open(name, flags | os.O_NOFOLLOW, 0o666)) as file:
        try:
            # Unlike flock it is not inherited by loader workers, which may live longer.
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in (EACCES, EAGAIN):
                file.seek(0)
                raise RuntimeError(
                    f'{what} is going on in {folder} already ({file.read().strip()}): wait for its end, or name '
                    'another folder'
                ) from None
            print(f'warning: {folder} cannot be locked ({error}): start nothing else in it', file=sys.stderr)
        file.truncate(0)
        file.write(f'process {os.getpid()} on {socket.gethostname()}')
        file.flush()
        yield


FOLDER = '.mmsampriors'  # of the records, hidden in the folder that they are about


class MadeFiles:
    """The record of what was written into a folder: a small file for each name, so that several processes may share it.

    What is there may be replaced as long as it holds what was written. A record is written before its file, so that a
    process that is killed leaves nothing that the next one does not know.

    Args:
        folder (str | Path): The folder. Names are relative to it.
        tool (str): The name of the tool; others have records of their own.
    """

    def __init__(self, folder, tool: str):
        self.folder, self.tool = Path(folder), tool

    def refuse_others(self, names: Iterable) -> None:
        """Looks, before the work, whether something would be replaced that has no record; reads no file.

        Raises:
            FileExistsError: So it is; the message names the first.
            OSError: No file can be written there.
        """
        refuse_unwritable(self.folder / FOLDER)
        for name in names:
            if os.path.lexists(self.folder / name) and not self._record_of(name).exists():
                raise FileExistsError(
                    f'{self.folder / name} would be replaced, and nothing says that {self.tool}.py made it: move it '
                    'away, or name another folder'
                )

    def refuse_changed(self, names: Iterable) -> None:
        """Like :meth:`refuse_others`, also where a file no longer holds what was written. Reads the files.

        Raises:
            FileExistsError: So it is; the message names the first.
        """
        names = list(names)
        self.refuse_others(names)
        for name in names:
            self._content_of_made(name)

    def write(self, name, content, notes: Optional[Dict] = None, **made_of) -> None:
        """Writes a file whole or not at all, and its record.

        Args:
            name (str | Path): Of the file.
            content (str | bytes): What it holds.
            notes (dict, optional): JSON-able; for :meth:`notes_of`.
            **made_of: JSON-able; for :meth:`is_done`.

        Raises:
            FileExistsError: There is a file that would be lost.
            OSError: It cannot be written.
        """
        content = content.encode('utf-8', 'surrogateescape') if isinstance(content, str) else content
        self.refuse_others([name])
        before = self._content_of_made(name)
        holds = [hashlib.sha256(content).hexdigest(), *([before] if before else [])]
        try:
            self._note(name, holds, made_of, notes)
        except OSError as error:
            # The record means nothing to a user.
            raise OSError(error.errno, error.strerror, str(self.folder / name)) from error
        write_whole(self.folder / name, content)

    def knows(self, name) -> bool:
        """Whether the tool wrote a file of this name."""
        return self._record_of(name).exists()

    def is_done(self, name, **made_of) -> bool:
        """Whether the file is there, made of this, and as it was written."""
        record, path = self._read(name), self.folder / name
        if record is None or not path.is_file() or record.get('made_of', {}) != json.loads(json.dumps(made_of)):
            return False
        return record['holds'][:1] == [_content_of(path)]

    def notes_of(self, name) -> Dict:
        """What was noted when the file was written; empty where nothing was."""
        notes = (self._read(name) or {}).get('notes')
        return notes if isinstance(notes, dict) else {}

    def claim(self, names: Iterable) -> None:
        """Notes files and folders that will be made, which may grow until :meth:`finish`.

        Raises:
            FileExistsError: One of them is there, and is of others.
        """
        names = list(names)
        self.refuse_others(names)
        for name in names:
            if self._read(name) is None:
                self._note(name, [])

    def finish(self, names: Iterable) -> None:
        """Notes what files and folders hold now, of those that are there."""
        for name in names:
            if os.path.lexists(self.folder / name):
                self._note(name, [_content_of(self.folder / name)])

    def remove(self, names: Iterable) -> None:
        """Removes files and folders that hold what they held when they were finished.

        Raises:
            FileExistsError: One of them holds something else; nothing is removed.
        """
        names = list(names)
        self.refuse_changed(names)
        for name in names:
            # At once: a process that is killed meanwhile leaves no half folder.
            with (
                contextlib.suppress(FileNotFoundError),
                tempfile.TemporaryDirectory(prefix='.', dir=self.folder) as old,
            ):
                os.replace(self.folder / name, Path(old, 'removed'))
            self._record_of(name).unlink(missing_ok=True)

    def _content_of_made(self, name):
        """What is there, which must be what was written; None where nothing is."""
        path = self.folder / name
        if not os.path.lexists(path):
            return None
        content, record = _content_of(path), self._read(name)
        holds = record['holds'] if record else []
        if content in holds:
            return content
        raise FileExistsError(
            f'{_first_difference(path, content, holds)} is not as {self.tool}.py wrote it and would be lost: move '
            'it away, or name another folder'
        )

    def _record_of(self, name) -> Path:
        digest = hashlib.sha256(os.fsencode(os.path.normpath(name))).hexdigest()  # of a name of any length
        return self.folder / FOLDER / self.tool / f'{digest[:32]}.json'

    def _note(self, name, holds, made_of=None, notes=None):
        record = dict(name=os.fspath(name), holds=holds)
        record |= {key: value for key, value in dict(made_of=made_of, notes=notes).items() if value}
        write_whole(self._record_of(name), json.dumps(record, indent=1))

    def _read(self, name) -> Optional[Dict]:
        """The record of a name; None where there is none, or it is damaged."""
        try:
            record = json.loads(self._record_of(name).read_text())
        except (OSError, ValueError):
            return None
        return record if isinstance(record, dict) and isinstance(record.get('holds'), list) else None


def _content_of(path):
    """What identifies the content: of a folder each of its files, by name."""
    if path.is_symlink():
        return f'link to {os.readlink(path)}'
    if not path.is_dir():
        return sha256_of(path)
    return {file.name: _content_of(file) for file in sorted(path.iterdir()) if file.name != FOLDER}


def _first_difference(path, content, holds):
    """The path of the first file below ``path`` that is not as it was."""
    before = holds[0] if holds else None
    if isinstance(content, dict) and isinstance(before, dict):
        for name, now in content.items():
            if now != before.get(name):
                return _first_difference(path / name, now, [before[name]] if name in before else [])
    return path

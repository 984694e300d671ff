"""Files that are there whole or not at all."""

import errno
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mmsampriors.files import (
    PART,
    MadeFiles,
    check_writable,
    refuse_remote,
    refuse_unwritable,
    sha256_of,
    write_whole,
    written_whole,
)
from mmsampriors.images import images_in
from mmsampriors.inference.inputs import find_photographs


def test_writes_text_and_bytes_and_makes_the_folder(tmp_path):
    write_whole(tmp_path / 'a' / 'text.md', 'ä')
    write_whole(str(tmp_path / 'bytes'), b'\xe4')
    assert (tmp_path / 'a' / 'text.md').read_bytes() == 'ä'.encode() and (tmp_path / 'bytes').read_bytes() == b'\xe4'


def test_what_cannot_be_written_is_known_before_the_work(tmp_path):
    check_writable(tmp_path / 'new' / 'result.json')
    assert not list(tmp_path.iterdir())
    (tmp_path / 'new').mkdir()
    with pytest.raises(IsADirectoryError, match='this is a folder'):
        check_writable(tmp_path / 'new')
    (tmp_path / 'file').touch()
    with pytest.raises(OSError, match='file'):
        check_writable(tmp_path / 'file' / 'result.json')
    with pytest.raises(NotADirectoryError, match='expected a folder for the results, and this is none'):
        MadeFiles(tmp_path / 'file' / 'out', 'test').refuse_others([])


def test_what_fails_leaves_the_old_file_and_nothing_beside_it(tmp_path):
    write_whole(tmp_path / 'file', 'old')
    with pytest.raises(OSError, match='disk'), written_whole(tmp_path / 'file') as part:
        part.write_text('half')
        raise OSError('disk')
    assert [path.name for path in tmp_path.iterdir()] == ['file'] and (tmp_path / 'file').read_text() == 'old'


def test_a_killed_writer_leaves_a_hidden_part_and_the_old_file(tmp_path):
    write_whole(tmp_path / 'file', 'old')
    code = f"""
import time
from mmsampriors.files import written_whole
with written_whole({str(tmp_path / 'file')!r}) as part:
    part.write_text('half')
    time.sleep(60)
"""
    writer = subprocess.Popen([sys.executable, '-c', code])
    deadline = time.monotonic() + 50
    while not list(tmp_path.glob(f'.*{PART}')) and time.monotonic() < deadline:
        time.sleep(0.05)
    writer.kill()
    writer.wait()
    assert (tmp_path / 'file').read_text() == 'old' and len(list(tmp_path.glob(f'.file.*{PART}'))) == 1


def test_an_error_names_the_file_that_was_meant(tmp_path):
    (tmp_path / 'file').write_text('')
    with pytest.raises(OSError, match=re.escape(str(tmp_path / 'file'))):
        write_whole(tmp_path / 'file' / 'below', 'a file is no folder')
    with pytest.raises(OSError, match=f"No space left on device: '{tmp_path / 'full'}'"):
        with written_whole(tmp_path / 'full'):
            # As write() fails: without a name.
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_sha256_of(tmp_path):
    (tmp_path / 'x').write_bytes(b'abc')
    assert sha256_of(tmp_path / 'x') == 'ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad'


def test_text_with_names_that_are_no_utf8_is_written(tmp_path):
    write_whole(tmp_path / 'list.txt', os.fsdecode(b'caf\xe9.png'))
    assert (tmp_path / 'list.txt').read_bytes() == b'caf\xe9.png'


@pytest.mark.parametrize('path', ['s3://bucket/x', 'petrel:s3://bucket/x', Path('gs://bucket/x'), 'https://host/x'])
def test_addresses_are_no_folders(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for refuse in (
        refuse_unwritable,
        images_in,
        lambda path: write_whole(path, ''),
        lambda path: find_photographs([str(path)]),
    ):
        with pytest.raises(ValueError, match=r'file system, found the address .*bucket|host.*: mount it'):
            refuse(path)
    with pytest.raises(ValueError, match='a folder for the results .*found the address'):
        find_photographs([], path)
    assert not list(tmp_path.iterdir()), 'no folder of that name was made'


@pytest.mark.parametrize('path', ['', 'a/b', 'c:/x', '/a:/b', 'a:b'])
def test_other_names_are_left_to_the_file_system(path):
    refuse_remote(path, 'a folder')

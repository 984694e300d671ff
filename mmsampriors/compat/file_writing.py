"""Repairs to writing: files appear whole or not at all."""

import contextlib
import sys

from mmsampriors.files import written_whole

from .applying import after_import, up_to

BACKEND_MODULE = 'mmengine.fileio.backends.local_backend'
CHECKPOINT_MODULE = 'mmengine.hooks.checkpoint_hook'


@contextlib.contextmanager
def _open_whole(path, mode):
    with written_whole(path) as part, open(part, mode) as file:
        yield file


def _note_last_checkpoint_whole():
    sys.modules[CHECKPOINT_MODULE].open = _open_whole


def _write_files_whole():
    LocalBackend = sys.modules[BACKEND_MODULE].LocalBackend
    if getattr(LocalBackend.put, 'mended', False):
        return
    upstream_put = LocalBackend.put

    def put(self, obj, filepath):
        with written_whole(filepath) as part:
            upstream_put(self, obj, str(part))

    put.mended = True
    LocalBackend.put = put


@up_to('mmengine', '0.10.7')
def write_files_whole():
    """mmengine 0.10.7 writes checkpoints in place: a run killed meanwhile leaves a file that is cut off.

    The mended backend writes beside the target and renames. The note of the last checkpoint, the only file that the
    hook of checkpoints opens, is written so too. Can go when mmengine does so.
    """
    after_import(BACKEND_MODULE, _write_files_whole)
    after_import(CHECKPOINT_MODULE, _note_last_checkpoint_whole)

"""The command line: the command ``mmsampriors``, and what the tools share: options, their start, how errors end.

Light on purpose: a wrong option is refused at once, and a person sees within a second what is being done.
"""

import argparse
import fcntl
import logging
import os
import runpy
import sys
import traceback
import warnings
from pathlib import Path
from typing import Callable, Optional

from .compat import apply_to_tools

#: Libraries under mmagic that warn of their own future when they are imported.
TALKATIVE = 'albumentations|controlnet_aux|diffusers|importlib|mmagic|mmcv|mmengine|pkg_resources|timm|transformers'
#: What the command ``mmsampriors`` runs where there is no clone.
TOOLS = Path(__file__).resolve().parent / '.mim' / 'tools'
#: Where a tool is not called after its file.
NAMES = {'export_student': 'export'}


def commands() -> dict:
    """Name of a command to the file that it runs: every Python tool of the package."""
    files = {path.stem: path for path in sorted(TOOLS.rglob('*.py')) if not path.stem.endswith('_tool')}
    return {NAMES.get(name, name).replace('_', '-'): path for name, path in files.items()}


def run_command():
    """Runs ``mmsampriors COMMAND ...`` as ``python tools/COMMAND.py ...`` of a clone."""
    known = commands()
    name = sys.argv[1] if len(sys.argv) > 1 else '--help'
    if name not in known:
        usage = f'usage: mmsampriors COMMAND [ARGUMENTS], with COMMAND one of: {", ".join(sorted(known))}'
        if name in ('-h', '--help'):
            print(f'{usage}\nmmsampriors COMMAND --help says more.')
            return
        sys.exit(f'{usage}\nerror: there is no command {name!r}')
    sys.argv = [str(known[name]), *sys.argv[2:]]
    sys.path.insert(0, str(known[name].parent))
    runpy.run_path(str(known[name]), run_name='__main__')


def add_common_options(parser: argparse.ArgumentParser):
    """The options that mmagic's train and test tools share."""
    parser.add_argument('--work-dir', help='folder of logs, checkpoints and exports')
    add_cfg_options(parser)
    add_no_check(parser)
    parser.add_argument('--launcher', choices=['none', 'pytorch', 'slurm', 'mpi'], default='none', help='job launcher')
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0)
    add_debug(parser)


def add_cfg_options(parser: argparse.ArgumentParser):
    """``--cfg-options``, as in mmengine."""
    from .compat.config_options import ConfigOptions

    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=ConfigOptions,
        help='settings that override the config, as key=value, e.g. model.spd.losses.spd.loss_weight=0.2; lists as '
        'key="[a,b]" or key=a,b; "key=value" where a value has white space',
    )


def add_no_check(parser: argparse.ArgumentParser):
    """The option that skips the reading of all images."""
    parser.add_argument(
        '--no-check',
        action='store_true',
        help='do not read each image before the work starts; only the folders must be there',
    )


def add_allow_imports(parser: argparse.ArgumentParser):
    """``--allow-imports``, for tools that read a student's config."""
    parser.add_argument(
        '--allow-imports',
        action='store_true',
        help="import the modules that the student's config names (custom_imports): their code runs",
    )


def count(text: str) -> int:
    """A whole number of at least 1, for argparse.

    Raises:
        argparse.ArgumentTypeError: It is none.
    """
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f'expected a whole number of at least 1, found {text!r}')
    return int(text)


def add_debug(parser: argparse.ArgumentParser):
    """``--debug``, which :func:`run_tool` reads."""
    parser.add_argument('--debug', action='store_true', help='show where in the code an error came from')


def run_tool(main: Callable, args: argparse.Namespace, heavy: bool = True):
    """Runs a tool: mends upstream, says that it is loading, and ends an error with one message and exit status 1.

    Args:
        main (callable): Takes ``args``. It imports what is heavy itself.
        args (Namespace): With ``debug``, which keeps the traceback.
        heavy (bool): Whether it imports PyTorch and mmagic.
    """
    if heavy and os.environ.get('RANK', '0') == '0':
        print('loading PyTorch and mmagic, 10 to 40 seconds', file=sys.stderr, flush=True)
    apply_to_tools()
    warnings.filterwarnings('ignore', module=f'({TALKATIVE})')
    let_names_print()
    # A log on a full disk is not worth a traceback a line: the error that ends the run says what is full.
    logging.raiseExceptions = False
    try:
        main(args)
    except KeyboardInterrupt:
        sys.exit('interrupted')
    except Exception as error:
        if args.debug:
            raise
        text = f'error: {message_of(error)}\n({_log_traceback()}--debug shows where it came from)'
        sys.exit(1 if _left_to_launcher(f'{text}\n') else text)


def let_names_print():
    """Lets file names that are no UTF-8 be printed: as the bytes that they are."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, 'reconfigure'):
            stream.reconfigure(errors='surrogateescape')


def _left_to_launcher(text: str) -> bool:
    """Leaves the first error of a run's processes to ``tools/dist_*.sh``, which show it once, last."""
    path = os.environ.get('MMSAMPRIORS_ERROR')
    if not (path and os.path.isfile(path)):
        return False
    with open(path, 'a+', errors='surrogateescape') as file:
        fcntl.lockf(file, fcntl.LOCK_EX)
        file.seek(0)
        written = file.read()
        if not written:
            file.write(text)
    # Of the others only what is no copy of it.
    return not written or text.splitlines()[0] == written.splitlines()[0]


def message_of(error: BaseException) -> str:
    """What an error says; with its kind where the message alone would not be a sentence."""
    if isinstance(error, OSError) and error.errno and error.filename is None:
        file = _file_in(error.__traceback__)
        return f'{error}: {file!r}' if file else str(error)
    # KeyError shows the representation of its argument.
    text = str(error.args[0] if isinstance(error, KeyError) and error.args else error)
    whole = (FileNotFoundError, ValueError, RuntimeError, KeyError, OSError)
    return text if text and isinstance(error, whole) else f'{type(error).__name__}: {text}'


def _file_in(frames) -> Optional[str]:
    """What the innermost of the frames calls its file: of a full disk the system does not say which file it was."""
    for frame, _ in reversed(list(traceback.walk_tb(frames))):
        for name in ('filepath', 'file', 'filename', 'path'):
            if isinstance(frame.f_locals.get(name), (str, os.PathLike)):
                return os.fspath(frame.f_locals[name])
    return None


def _log_traceback() -> str:
    """Writes the traceback of the error at hand to the log of the run, where one has begun; says where it is."""
    if 'mmengine.logging' not in sys.modules:
        return ''
    from mmengine.logging import MMLogger

    files = [
        handler for handler in MMLogger.get_current_instance().handlers if isinstance(handler, logging.FileHandler)
    ]
    files = [handler for handler in files if os.path.isfile(handler.baseFilename)]  # that of a rehearsal is gone
    for handler in files:
        handler.handle(logging.LogRecord('mmengine', logging.ERROR, __file__, 0, 'error', (), sys.exc_info()))
    return ''.join(f'{os.path.relpath(handler.baseFilename)} or ' for handler in files)

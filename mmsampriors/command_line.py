"""What the tools share on the command line: their common options, what they say at the start, how errors end.

Light on purpose: a wrong option is told at once, and a person sees within a second what is being done.
"""

import argparse
import os
import re
import sys
import tempfile
import traceback
import warnings
from typing import Callable

from mmengine.config import DictAction

#: Libraries under mmagic that warn of their own future when they are imported.
TALKATIVE = 'albumentations|controlnet_aux|diffusers|importlib|mmagic|mmcv|mmengine|pkg_resources|timm|transformers'


class ConfigOptions(DictAction):
    """``--cfg-options`` that keeps the white space in a value.

    mmengine 0.10.7 takes every space out of a value, so that a path with one names another place. Here white space goes
    at both ends of a value and of the elements of a list only.
    """

    def __call__(self, parser, namespace, values, option_string=None):
        for option in values:
            if not re.match(r'[^=\s]+=', option):
                parser.error(
                    f'{option_string} takes KEY=VALUE, found {option!r}: a value with white space needs quotes, as in '
                    '"KEY=/my photographs/rain", and there is no white space around ='
                )
        super().__call__(parser, namespace, values, option_string)

    @staticmethod
    def _parse_iterable(text: str):
        """The value that a text says: ``1,2``, ``[a, b]``, ``[(1, 2), (3, 4)]``, or a single one."""
        text = text.strip().strip('\'"').strip()
        bracketed = text[:1] + text[-1:] in ('[]', '()')
        parts = _split_at_commas(text[1:-1] if bracketed else text)
        if not bracketed and parts in ([text], []):
            return DictAction._parse_int_float_bool(text)
        parts = map(ConfigOptions._parse_iterable, parts)
        return tuple(parts) if text.startswith('(') and bracketed else list(parts)


def _split_at_commas(text: str) -> list:
    """The parts between the commas that stand in no brackets; none after a last comma."""
    parts, depth = [''], 0
    for letter in text:
        depth += (letter in '([') - (letter in ')]')
        if letter == ',' and not depth:
            parts.append('')
        else:
            parts[-1] += letter
    return parts if parts[-1].strip() else parts[:-1]


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
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=ConfigOptions,
        help='settings that override the config, as key=value, e.g. model.spd.distill.loss_weight=0.2; lists as '
        'key="[a,b]" or key=a,b; "key=value" where a value has white space',
    )


def add_no_check(parser: argparse.ArgumentParser):
    """The option that skips the reading of all images."""
    parser.add_argument(
        '--no-check',
        action='store_true',
        help='do not read each image before the work starts; only the folders must be there',
    )


def add_debug(parser: argparse.ArgumentParser):
    """``--debug``, which :func:`run_tool` reads."""
    parser.add_argument('--debug', action='store_true', help='show where in the code an error came from')


def run_tool(main: Callable, args: argparse.Namespace):
    """Runs a tool: says that it is loading, and ends an error with one message and exit status 1.

    Args:
        main (callable): Takes ``args``. It imports what is heavy itself.
        args (Namespace): With ``debug``, which keeps the traceback.
    """
    if os.environ.get('RANK', '0') == '0':
        print('loading PyTorch and mmagic, 10 to 40 seconds', file=sys.stderr, flush=True)
    warnings.filterwarnings('ignore', module=f'({TALKATIVE})')
    try:
        main(args)
    except KeyboardInterrupt:
        sys.exit('interrupted')
    except Exception as error:
        if args.debug:
            raise
        sys.exit(f'error: {message_of(error)}\n(where it came from: {_keep_traceback()}, or --debug)')


def message_of(error: BaseException) -> str:
    """What an error says; with its kind where the message alone would not be a sentence."""
    # KeyError shows the representation of its argument.
    text = str(error.args[0] if isinstance(error, KeyError) and error.args else error)
    ours = (FileNotFoundError, ValueError, RuntimeError, KeyError, OSError)
    return text if text and isinstance(error, ours) else f'{type(error).__name__}: {text}'


def _keep_traceback() -> str:
    """Writes the traceback of the error at hand to a file of its own; its path."""
    with tempfile.NamedTemporaryFile('w', prefix='mmsampriors-error-', suffix='.txt', delete=False) as file:
        traceback.print_exc(file=file)
    return file.name

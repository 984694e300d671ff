"""Sharing work over processes that know nothing of each other."""

import argparse
from typing import Tuple


def shard_of(text: str) -> Tuple[int, int]:
    """'I/N' as (I, N), for argparse: every N-th piece of work from the I-th (from 0) on.

    Raises:
        argparse.ArgumentTypeError: It is no such text, or I is not from 0 to N - 1.
    """
    index, _, count = text.partition('/')
    if not (index.isdecimal() and count.isdecimal() and int(index) < int(count)):
        raise argparse.ArgumentTypeError(f'expected I/N with I from 0 to N - 1, such as 0/4; found {text!r}')
    return int(index), int(count)

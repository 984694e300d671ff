import argparse

import pytest

from mmsampriors.files import shard_of


def test_shards():
    assert shard_of('2/4') == (2, 4)
    for text in ('4/4', '-1/4', 'a', '1', '1/'):
        with pytest.raises(argparse.ArgumentTypeError, match='expected I/N'):
            shard_of(text)

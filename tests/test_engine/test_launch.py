import mmsampriors.compat  # noqa: F401, I001
from argparse import Namespace

import pytest

from mmsampriors.engine.launch import load_config


def test_a_config_that_is_not_there_is_one_clear_error(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match=f'there is no config spd.py .looked in {tmp_path}'):
        load_config(Namespace(config='spd.py', local_rank=0))

"""A few seconds of the fuzz of configs; ``.dev_scripts/fuzz_configs.py --minutes 60`` is the whole."""

import logging
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / '.dev_scripts'))

from fuzz_configs import base_config, documented_keys, overrides, try_overrides  # noqa: E402


@pytest.fixture(scope='module')
def base():
    yield base_config()
    logging.disable(logging.NOTSET)


@settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(overrides())
def test_overrides_work_or_are_refused_with_a_reason(base, example):
    assert try_overrides(base, *example) == '', example[0]


def test_the_fuzz_finds_what_it_looks_for(base):
    assert {'masks.cache_dir', 'spf.form', 'schedule.refiner', 'distill.loss_weight'} <= set(documented_keys())
    assert try_overrides(base, {'model.spd.distill.loss_weight': 1.0}, misspelt=False) == ''
    assert 'misspelt' in try_overrides(base, {'model.spd.distill.loss_weight': 1.0}, misspelt=True)
    assert 'TypeError' in try_overrides(base, {'model.generator.mid_channels': 'many'}, misspelt=False)

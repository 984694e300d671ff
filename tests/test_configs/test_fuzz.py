"""Overrides documented keys of ``model.spd`` at random, with right and wrong values.

Each config goes through what training does before it looks at data. Either all of it works, or an error of this package
says what is wrong. A misspelt key is always refused.
"""

import copy
import inspect
import logging
import traceback
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mmengine.config import Config
from mmengine.registry import init_default_scope

import mmsampriors.engine  # noqa: F401
from mmsampriors.checks.config_check import check_config, check_training
from mmsampriors.checks.config_parts import check_parts
from mmsampriors.registry import MODELS, TASK_UTILS, build_part

ROOT = Path(__file__).resolve().parents[2]
CONFIG = ROOT / 'configs' / 'spd' / 'nafnet_denoise-tiny.py'
#: Part of ``model.spd`` to the types that the README lists for it. SAM's own weights are hundreds of megabytes.
TYPES = {
    'masks': ['CachedMasks', 'LabelMapMasks', 'FelzenszwalbMasks', 'NoMasks'],
    'spf': ['SPFUnit'],
    'feature_extractor': ['EfficientNetExtractor'],
    'schedule': ['TwoStageSchedule', 'JointSchedule'],
    'losses.spd': ['SPDLoss'],
    'losses.sgr': ['SGRLoss'],
}
#: Texts that some key takes.
WORDS = ['feature', 'image', 'gt', 'restored', 'lq', 'data/masks', 'random', '', 'nonsense']
ERRORS = (ValueError, KeyError, FileNotFoundError, RuntimeError)

values = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 1000),
    st.floats(-2, 2),
    st.sampled_from([float('nan'), float('inf'), 1e30]),
    st.sampled_from(WORDS),
    st.lists(st.integers(-1, 3), max_size=3),
    st.dictionaries(st.sampled_from(['type', 'x']), st.sampled_from(WORDS), max_size=2),
)


def documented_keys() -> dict:
    """Dotted key below ``model.spd`` to the type of its part: what the constructors take."""
    keys = {}
    for part, types in TYPES.items():
        for name in types:
            registry = TASK_UTILS if part == 'schedule' else MODELS
            for parameter in inspect.signature(registry.get(f'mmsampriors.{name}')).parameters.values():
                if parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
                    keys.setdefault(f'{part}.{parameter.name}', []).append(name)
    return {key: names for key, names in keys.items()}


@st.composite
def overrides(draw):
    """One to three overrides, and whether one of them is misspelt."""
    documented = documented_keys()
    chosen = {}
    for _ in range(draw(st.integers(1, 3))):
        key = draw(st.sampled_from(sorted(documented)))
        part = key.rpartition('.')[0]
        chosen[f'model.spd.{part}.type'] = draw(st.sampled_from(documented[key]))
        chosen[f'model.spd.{key}'] = draw(values)
    if draw(st.integers(0, 4)) == 0:
        part = draw(st.sampled_from(sorted(TYPES)))
        chosen[f'model.spd.{part}.{draw(st.sampled_from(["lenght", "weigth", "typ"]))}'] = draw(values)
        return chosen, True
    return chosen, False


def try_overrides(base: Config, chosen: dict, misspelt: bool) -> str:
    """What breaks the promise of this file; empty where nothing does."""
    cfg = copy.deepcopy(base)
    try:
        cfg.merge_from_dict(copy.deepcopy(chosen))
        check_config(cfg)
        check_parts(cfg)
        check_training(cfg)
        MODELS.build(cfg.model)
        if cfg.model.spd.feature_extractor:
            build_part(MODELS, copy.deepcopy(cfg.model.spd.feature_extractor))
    except Exception as error:
        frame = traceback.extract_tb(error.__traceback__)[-1]
        ours = 'mmsampriors' in frame.filename and isinstance(error, ERRORS)
        if ours and str(error).strip():
            return ''
        return f'{type(error).__name__}: {error} ({Path(frame.filename).name}:{frame.lineno})'
    return 'a misspelt key is accepted' if misspelt else ''


def base_config() -> Config:
    """The config that is overridden."""
    logging.disable(logging.WARNING)
    init_default_scope('mmagic')
    torch.set_num_threads(1)
    return Config.fromfile(CONFIG)


@pytest.fixture(scope='module')
def base():
    yield base_config()
    logging.disable(logging.NOTSET)


@settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(overrides())
def test_overrides_work_or_are_refused_with_a_reason(base, example):
    assert try_overrides(base, *example) == '', example[0]


def test_the_fuzz_finds_what_it_looks_for(base, monkeypatch):
    assert {'masks.cache_dir', 'schedule.refiner', 'losses.spd.loss_weight'} <= set(documented_keys())
    assert try_overrides(base, {'model.spd.losses.spd.loss_weight': 1.0}, misspelt=False) == ''
    assert 'misspelt' in try_overrides(base, {'model.spd.losses.spd.loss_weight': 1.0}, misspelt=True)
    monkeypatch.setitem(globals(), 'check_config', lambda cfg: len(None))  # an error that nobody means
    assert 'TypeError' in try_overrides(base, {'model.spd.losses.spd.loss_weight': 1.0}, misspelt=False)

"""Overrides documented keys of ``model.spd`` at random, with right and wrong values, for as long as it is told to.

Each config goes through what training does before it looks at data: check_config, check_training, building the model
and its analyzer. Either all of it works, or an error of this package says what is wrong. A misspelt key is always
refused. What breaks this is printed, smallest example first.
"""

import argparse
import copy
import inspect
import logging
import sys
import time
import traceback
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import mmsampriors  # noqa: E402, F401

# isort: split
import torch  # noqa: E402
from hypothesis import HealthCheck, Phase, find, given, settings  # noqa: E402, F401
from hypothesis import seed as with_seed  # noqa: E402
from hypothesis import strategies as st  # noqa: E402
from mmengine.config import Config  # noqa: E402
from mmengine.registry import init_default_scope  # noqa: E402

import mmsampriors.engine  # noqa: E402, F401
from mmsampriors.checks.config_check import check_config, check_training  # noqa: E402
from mmsampriors.registry import MODELS, TASK_UTILS, build_part  # noqa: E402

CONFIG = ROOT / 'configs' / 'spd' / 'nafnet_denoise-tiny.py'
#: Part of ``model.spd`` to the types that the README lists for it. SAM's own weights are hundreds of megabytes.
TYPES = dict(
    masks=['CachedMasks', 'LabelMapMasks', 'FelzenszwalbMasks', 'NoMasks'],
    spf=['SPFUnit'],
    analyzer=['EfficientNetAnalyzer'],
    sgr=['SGRLoss'],
    distill=['SPDLoss'],
    schedule=['TwoStageSchedule', 'JointSchedule'],
)
#: Texts that some key takes.
WORDS = ['prototype', 'stack', 'feature', 'image', 'gt', 'restored', 'lq', 'data/masks', 'random', '', 'nonsense']
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
    return {key: names for key, names in keys.items() if key != 'spf.features'}


@st.composite
def overrides(draw):
    """One to three overrides, and whether one of them is misspelt."""
    documented = documented_keys()
    chosen = {}
    for _ in range(draw(st.integers(1, 3))):
        key = draw(st.sampled_from(sorted(documented)))
        part = key.split('.')[0]
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
        check_training(cfg)
        MODELS.build(cfg.model)
        if cfg.model.spd.analyzer:
            build_part(MODELS, copy.deepcopy(cfg.model.spd.analyzer))
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


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--minutes', type=float, default=60, help='how long; default: 60')
    parser.add_argument('--seed', type=int, default=0, help='another seed gives other configs')
    args = parser.parse_args()
    base, end, found, tried = base_config(), time.monotonic() + 60 * args.minutes, {}, [0]

    batch = 0
    while time.monotonic() < end:

        @with_seed(args.seed + batch)
        @settings(
            max_examples=50,
            deadline=None,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(overrides())
        def fuzz(example):
            if time.monotonic() < end:
                tried[0] += 1
                problem = try_overrides(base, *example)
                if problem and problem not in found:
                    found[problem] = example[0]
                    print(f'{example[0]}\n    {problem}', flush=True)

        fuzz()
        batch += 1
        print(f'{tried[0]} configs, {len(found)} kinds of problems', flush=True)
    if found:
        sys.exit(f'error: {len(found)} kinds of problems in {tried[0]} configs')


if __name__ == '__main__':
    main()

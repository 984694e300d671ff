import os.path as osp

import pytest
from mmengine.config import Config

from mmsampriors.models.spd_config import KEYS, check_spd

BASE = osp.join(osp.dirname(__file__), '..', '..', 'configs', '_base_', 'spd.py')


@pytest.fixture
def spd():
    return Config.fromfile(BASE, import_custom_modules=False).spd.to_dict()


def test_the_base_config_is_accepted_and_names_every_key(spd):
    check_spd(spd)
    assert set(spd) == set(KEYS)


@pytest.mark.parametrize(
    'change, message',
    [
        (dict(mask=dict(type='NoMasks')), r"unknown keys \['mask'\]"),
        (dict(masks=None), "masks=dict\\(type='NoMasks'\\)"),
        (dict(masks={}), 'model.spd.masks is empty'),
        (dict(spf=None), 'model.spd.spf must be a config dict, found None'),
        (dict(losses=dict(spd=0.5)), 'model.spd.losses.spd must be a config dict.*found 0.5'),
        (dict(schedule='joint'), "model.spd.schedule must be a config dict, found 'joint'"),
        (dict(losses=dict(spd=dict(type='SPDLoss', loss_weight=0), sgr=None)), 'no loss whose loss_weight is not 0'),
        (dict(losses={}), 'no loss whose loss_weight is not 0'),
        (dict(feature_extractor=None), 'model.spd.losses.sgr needs model.spd.feature_extractor'),
    ],
)
def test_what_would_do_nothing_is_refused_by_key(spd, change, message):
    with pytest.raises(ValueError, match=message):
        check_spd({**spd, **change})


@pytest.mark.parametrize('key', KEYS)
def test_a_missing_key_is_named(spd, key):
    del spd[key]
    with pytest.raises(ValueError, match=rf"lacks \['{key}'\]"):
        check_spd(spd)


@pytest.mark.parametrize(
    'change',
    [
        dict(losses=dict(spd=dict(type='SPDLoss', loss_weight=0), sgr=dict(type='SGRLoss'))),
        dict(losses=dict(spd=dict(type='SPDLoss')), feature_extractor=None),
        dict(masks=dict(type='NoMasks')),
    ],
)
def test_one_lambda_or_no_masks_are_legitimate(spd, change):
    check_spd({**spd, **change})


@pytest.mark.parametrize('wrong', [None, 'spd.py', []])
def test_no_dict_is_refused_with_the_way_out(wrong):
    with pytest.raises(ValueError, match='mmsampriors::_base_/spd.py'):
        check_spd(wrong)

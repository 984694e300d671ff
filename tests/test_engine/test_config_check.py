import mmsampriors.compat  # noqa: F401, I001
import pytest
from mmengine.config import Config

from mmsampriors.engine.config_check import check_config, leaves

BASES = ("_base_ = ['mmagic::nafnet/nafnet_c64eb11128mb1db1111_8xb8-lr1e-3-400k_gopro.py', "
         "'mmsampriors::_base_/spd.py']\n")
MODEL = "model = dict(type='SPDModel', spd=_base_.spd)\n"
HOOKS = "custom_hooks = _base_.get('custom_hooks', []) + _base_.spd_hooks\n"


@pytest.fixture
def read(tmp_path):
    """A function that reads a config as a user writes it, with options as ``--cfg-options`` gives them."""

    def read_text(text, **options):
        path = tmp_path / 'user.py'
        path.write_text(text)
        cfg = Config.fromfile(path)
        cfg.merge_from_dict(options)
        return cfg

    return read_text


def test_three_lines_make_a_config(read):
    cfg = read(BASES + MODEL + HOOKS)
    check_config(cfg)
    assert cfg.model.type == 'SPDModel' and cfg.model.generator.type == 'NAFNetLocal'
    assert cfg.model.spd.masks.type == 'CachedMasks'
    hooks = [hook.type for hook in cfg.custom_hooks]
    assert hooks[0] == 'BasicVisualizationHook' and {'SPDScheduleHook', 'ExportStudentHook'} < set(hooks)
    assert 'mmsampriors.models' in cfg.custom_imports.imports


def test_a_dumped_config_is_accepted_as_well(read):
    check_config(read(read(BASES + MODEL + HOOKS).pretty_text))


def test_configs_without_spd_are_none_of_its_business(read):
    check_config(read(BASES.split(',')[0] + ']\n'))


def test_hook_without_model_is_refused(read):
    with pytest.raises(ValueError, match="model.type is 'BaseEditModel', so nothing would be distilled"):
        check_config(read(BASES + HOOKS))


def test_model_without_hook_is_refused(read):
    with pytest.raises(ValueError, match='custom_hooks has no SPDScheduleHook'):
        check_config(read(BASES + MODEL))


@pytest.mark.parametrize('line, message', [
    ("model = dict(type='SPDModel', spd={**_base_.spd, 'mask': None})\n", r"unknown keys \['mask'\]"),
    ("model = dict(type='SPDModel', spd={**_base_.spd, 'masks': None})\n", 'model.spd.masks is empty'),
    ("model = dict(type='SPDModel')\n", 'spd=_base_.spd'),
])
def test_a_wrong_spd_is_refused(read, line, message):
    with pytest.raises(ValueError, match=message):
        check_config(read(BASES + line + HOOKS))


@pytest.mark.parametrize('change', [
    "'sgr': None, 'analyzer': None", "'masks': dict(type='NoMasks', _scope_='mmagic')",
    "'distill': {**_base_.spd.distill, 'loss_weight': 0.3}"
])
def test_overriding_in_model_spd_is_accepted(read, change):
    check_config(read(BASES + f"model = dict(type='SPDModel', spd={{**_base_.spd, {change}}})\n" + HOOKS))


def test_overriding_in_a_further_child_is_accepted(read, tmp_path):
    (tmp_path / 'parent.py').write_text(BASES + MODEL + HOOKS)
    cfg = read("_base_ = './parent.py'\nmodel = dict(spd=dict(distill=dict(loss_weight=0.7), sgr=None))\n")
    check_config(cfg)
    assert cfg.model.spd.distill.loss_weight == 0.7 and cfg.model.spd.distill.type == 'SPDLoss'


def test_overriding_model_spd_on_the_command_line_is_accepted(read):
    cfg = read(BASES + MODEL + HOOKS, **{'model.spd.distill.loss_weight': 0.7, 'model.spd.sgr': None})
    check_config(cfg)
    assert cfg.model.spd.distill.loss_weight == 0.7 and cfg.model.spd.sgr is None


@pytest.mark.parametrize('options, key', [({
    'spd.distill.loss_weight': 0.7
}, 'distill.loss_weight'), ({
    'spd.sgr': None
}, 'sgr'), ({
    'spd.refiner': dict(type='SwinIRNet', _delete_=True)
}, 'refiner.type'), ({
    'spd.spf.inject': 'image'
}, 'spf.inject'), ({
    'spd.new': 1
}, 'new')])
def test_overriding_spd_on_the_command_line_is_refused(read, options, key):
    with pytest.raises(ValueError, match=rf'spd.{key} = .* has no effect.*--cfg-options model.spd.{key}='):
        check_config(read(BASES + MODEL + HOOKS, **options))


@pytest.mark.parametrize('line, key', [
    ('spd = dict(distill=dict(loss_weight=0.7))\n', 'distill.loss_weight'),
    ("spd = dict(masks=dict(type='NoMasks'))\n", 'masks.type'),
    ("spd = dict(sgr=dict(_delete_=True, type='SGRLoss'))\n", 'sgr.loss_weight'),
    ('spd = dict(analyzer=None)\n', 'analyzer'),
])
def test_a_changed_top_level_spd_is_refused(read, line, key):
    with pytest.raises(ValueError, match=f'spd.{key} = .* has no effect'):
        check_config(read(BASES + MODEL + HOOKS + line))


def test_the_same_change_in_both_places_is_accepted(read):
    check_config(read(BASES + MODEL + HOOKS, **{'spd.distill.loss_weight': 0.7, 'model.spd.distill.loss_weight': 0.7}))


def test_leaves_are_dotted_keys_without_scopes():
    tree = dict(a=dict(b=1, _scope_='mmagic', c=dict()), d=[dict(e=2)], _scope_='mmagic')
    assert dict(leaves(tree)) == {'a.b': 1, 'a.c': {}, 'd': [dict(e=2)]}

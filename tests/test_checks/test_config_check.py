import pytest
from mmengine.config import Config

from mmsampriors.checks import config_check
from mmsampriors.checks.config_check import check_config, check_training, values_by_key

BASES = (
    "_base_ = ['mmagic::nafnet/nafnet_c64eb11128mb1db1111_8xb8-lr1e-3-400k_gopro.py', 'mmsampriors::_base_/spd.py']\n"
)
MODEL = "model = dict(type='mmsampriors.SPDModel', spd=_base_.spd)\n"
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
    assert cfg.model.type == 'mmsampriors.SPDModel' and cfg.model.generator.type == 'NAFNetLocal'
    assert cfg.model.spd.masks.type == 'CachedMasks'
    hooks = [hook.type for hook in cfg.custom_hooks]
    assert hooks[0] == 'BasicVisualizationHook' and {
        'mmsampriors.SPDScheduleHook',
        'mmsampriors.ExportStudentHook',
    } < set(hooks)


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


@pytest.mark.parametrize(
    'line, message',
    [
        ("model = dict(type='mmsampriors.SPDModel', spd={**_base_.spd, 'mask': None})\n", r"unknown keys \['mask'\]"),
        ("model = dict(type='mmsampriors.SPDModel', spd={**_base_.spd, 'masks': None})\n", 'model.spd.masks is empty'),
        ("model = dict(type='mmsampriors.SPDModel')\n", 'spd=_base_.spd'),
    ],
)
def test_a_wrong_spd_is_refused(read, line, message):
    with pytest.raises(ValueError, match=message):
        check_config(read(BASES + line + HOOKS))


@pytest.mark.parametrize(
    'change',
    [
        "'losses': dict(spd=_base_.spd.losses.spd, sgr=None), 'feature_extractor': None",
        "'refiner': {**_base_.model.generator, 'mid_channels': 32}",
        "'masks': dict(type='NoMasks', _scope_='mmagic')",
        "'losses': dict(spd={**_base_.spd.losses.spd, 'loss_weight': 0.3})",
    ],
)
def test_overriding_in_model_spd_is_accepted(read, change):
    check_config(read(BASES + f"model = dict(type='mmsampriors.SPDModel', spd={{**_base_.spd, {change}}})\n" + HOOKS))


def test_overriding_in_a_further_child_is_accepted(read, tmp_path):
    (tmp_path / 'parent.py').write_text(BASES + MODEL + HOOKS)
    cfg = read("_base_ = './parent.py'\nmodel = dict(spd=dict(losses=dict(spd=dict(loss_weight=0.7), sgr=None)))\n")
    check_config(cfg)
    assert cfg.model.spd.losses.spd.loss_weight == 0.7 and cfg.model.spd.losses.spd.type == 'SPDLoss'


def test_overriding_model_spd_on_the_command_line_is_accepted(read):
    cfg = read(BASES + MODEL + HOOKS, **{'model.spd.losses.spd.loss_weight': 0.7, 'model.spd.losses.sgr': None})
    check_config(cfg)
    assert cfg.model.spd.losses.spd.loss_weight == 0.7 and cfg.model.spd.losses.sgr is None


@pytest.mark.parametrize(
    'options, key',
    [
        ({'spd.losses.spd.loss_weight': 0.7}, 'losses.spd.loss_weight'),
        ({'spd.losses.sgr': None}, 'losses.sgr'),
        ({'spd.refiner': dict(type='SwinIRNet', _delete_=True)}, 'refiner.type'),
        ({'spd.spf.inject': 'image'}, 'spf.inject'),
        ({'spd.new': 1}, 'new'),
    ],
)
def test_overriding_spd_on_the_command_line_is_refused(read, options, key):
    with pytest.raises(ValueError, match=rf'spd.{key} = .* has no effect.*--cfg-options model.spd.{key}='):
        check_config(read(BASES + MODEL + HOOKS, **options))


@pytest.mark.parametrize(
    'line, key',
    [
        ('spd = dict(losses=dict(spd=dict(loss_weight=0.7)))\n', 'losses.spd.loss_weight'),
        ("spd = dict(masks=dict(type='NoMasks'))\n", 'masks.type'),
        ("spd = dict(losses=dict(sgr=dict(_delete_=True, type='SGRLoss')))\n", 'losses.sgr.loss_weight'),
        ('spd = dict(feature_extractor=None)\n', 'feature_extractor'),
    ],
)
def test_a_changed_top_level_spd_is_refused(read, line, key):
    with pytest.raises(ValueError, match=f'spd.{key} = .* has no effect'):
        check_config(read(BASES + MODEL + HOOKS + line))


def test_the_same_change_in_both_places_is_accepted(read):
    check_config(
        read(BASES + MODEL + HOOKS, **{'spd.losses.spd.loss_weight': 0.7, 'model.spd.losses.spd.loss_weight': 0.7})
    )


def test_a_base_of_another_kind_is_refused_by_its_name(read):
    base = "_base_ = ['mmagic::esrgan/esrgan_x4c64b23g32_1xb16-400k_div2k.py', 'mmsampriors::_base_/spd.py']\n"
    with pytest.raises(ValueError, match='user.py inherits a ESRGAN.*one image of the same size out: GANs'):
        check_config(read(base + MODEL + HOOKS))
    anew = (
        "model = dict(_delete_=True, type='mmsampriors.SPDModel', generator=dict(type='NAFNet'), "
        "pixel_loss=dict(type='L1Loss'), spd=_base_.spd)\n"
    )
    check_config(read(base + anew + HOOKS))


def test_mmagics_nafnet_is_warned_of_its_two_orders_of_channels(read, monkeypatch):
    said = []
    monkeypatch.setattr(config_check, 'warn', said.append)
    small = {'model.generator.enc_blk_nums': [1], 'model.generator.dec_blk_nums': [1]}
    check_training(read(BASES + MODEL + HOOKS, **small))
    keys = [f'train_dataloader.dataset.pipeline.{step}.channel_order' for step in (0, 1)]
    assert len(said) == 1 and said[0].endswith(f'--cfg-options) {keys[0]}=rgb {keys[1]}=rgb')
    check_training(read(BASES + MODEL + HOOKS, **small, **dict.fromkeys(keys, 'rgb')))
    assert len(said) == 1


def test_noise_that_buries_the_image_is_warned_of(read, monkeypatch):
    said = []
    monkeypatch.setattr(config_check, 'warn', said.append)
    base = (
        "_base_ = ['mmagic::swinir/swinir_s128w8d6e180_8xb1-lr2e-4-1600k_dfwb-{}.py', 'mmsampriors::_base_/spd.py']\n"
    )
    small = {'model.generator.depths': [1], 'model.generator.num_heads': [6]}
    check_training(read(base.format('colorDN25') + MODEL + HOOKS, **small))
    assert not said
    check_training(read(base.format('colorDN15') + MODEL + HOOKS, **small))
    assert len(said) == 1 and 'gaussian_sigma=[3825, 3825]' in said[0]


def test_a_child_of_a_child_is_seen_through(read, tmp_path):
    (tmp_path / 'first.py').write_text(BASES + MODEL + HOOKS)
    check_config(read("_base_ = 'first.py'\nmodel = dict(test_cfg=dict())\n"))


def test_keys_of_another_model_are_refused_where_the_base_is_not_at_hand(read):
    text = read(BASES + MODEL + HOOKS, **{'model.discriminator': dict(type='PatchDiscriminator')}).pretty_text
    with pytest.raises(ValueError, match=r"keys \['discriminator'\] that SPDModel does not take"):
        check_config(read(text))


RESTORMER = ['mmagic::restormer/restormer_official_rain13k.py', 'mmsampriors::_base_/spd.py']
SHRUNK = {'model.generator.dim': 8, 'model.generator.num_blocks': [1] * 4, 'model.generator.num_refinement_blocks': 1}


def test_a_base_that_can_only_test_is_reported_its_schedule(read):
    cfg = read(f'_base_ = {RESTORMER}\n' + MODEL + HOOKS, **SHRUNK)
    check_config(cfg)
    with pytest.raises(ValueError, match='lacks train_dataloader, train_cfg, optim_wrapper.*/restormer_derain.py'):
        check_training(cfg)


def test_gray_networks_on_colour_images_are_refused(read):
    bases = [RESTORMER[0].replace('rain13k', 'dfwb-gray-sigma25'), RESTORMER[1]]
    schedule, text = 'mmsampriors::_base_/schedules/restormer_denoise{}.py', '_base_ = {}\n' + MODEL + HOOKS
    with pytest.raises(ValueError, match=r"images of 1 channels.*'img' with 3 .*restormer_denoise_gaussian_gray.py"):
        check_training(read(text.format([*bases, schedule.format('')]), **SHRUNK))
    check_training(read(text.format([*bases, schedule.format('_gaussian_gray')]), **SHRUNK))


def test_a_network_that_takes_no_image_is_refused_before_training(read):
    cfg = read(BASES + MODEL + HOOKS, **{'model.generator': dict(type='BasicVSRNet', _delete_=True)})
    with pytest.raises(ValueError, match='cannot be distilled'):
        check_training(cfg)


def test_values_by_key_are_dotted_keys_without_scopes():
    tree = dict(a=dict(b=1, _scope_='mmagic', c=dict()), d=[dict(e=2)], _scope_='mmagic')
    assert dict(values_by_key(tree)) == {'a.b': 1, 'a.c': {}, 'd': [dict(e=2)]}


@pytest.mark.parametrize(
    'option, message',
    [
        ({'optim_wrapper.paramwise_cfg': dict(custom_keys=dict(intro=dict(lr_mult='fast')))}, 'TypeError'),
        ({'optim_wrapper.type': 'AmpOptimWrapper'}, 'only available training on gpu'),
        ({'optim_wrapper.constructor': 'NoConstructor'}, "'NoConstructor' is not registered"),
    ],
)
def test_an_optimizer_that_cannot_be_built_is_refused_with_its_key(read, option, message):
    small = {'model.generator.enc_blk_nums': [1], 'model.generator.dec_blk_nums': [1]}
    with pytest.raises(ValueError, match=f'optim_wrapper.*{message}'):
        check_training(read(BASES + MODEL + HOOKS, **small, **option))


def test_settings_of_weights_that_there_are_not_are_named(read, monkeypatch):
    said = []
    monkeypatch.setattr(config_check, 'warn', said.append)
    small = {'model.generator.enc_blk_nums': [1], 'model.generator.dec_blk_nums': [1]}
    keys = dict(generatr=dict(lr_mult=0.1), refiner=dict(lr_mult=0.1))
    check_training(read(BASES + MODEL + HOOKS, **small, **{'optim_wrapper.paramwise_cfg': dict(custom_keys=keys)}))
    assert sum('custom_keys has generatr, which' in message for message in said) == 1

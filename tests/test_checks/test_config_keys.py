"""Names that nothing reads are refused; a config's own helpers are not."""

import pytest
from mmengine.config import Config

from mmsampriors.checks.config_keys import ConfigFile, check_keys, check_overrides

BASE = """
train_pipeline = [dict(type='LoadImageFromFile', key='img'), dict(type='PairedRandomCrop', gt_patch_size=64)]
pairs = dict(train=dict(data_root='data/rain', data_prefix=dict(img='input')))
train_dataloader = dict(batch_size=2, dataset=dict(pipeline=train_pipeline, **pairs['train']))
optim_wrapper = dict(optimizer=dict(type='Adam', lr=1e-3))
optim_wrapper_2 = dict(clip_grad=None)
scale = 3
"""


@pytest.fixture
def check(tmp_path):
    """Checks a base and a child with the given lines."""
    (tmp_path / 'base.py').write_text(BASE)

    def run(lines):
        (tmp_path / 'child.py').write_text(f"_base_ = 'base.py'\n{lines}\n")
        file = ConfigFile.of(str(tmp_path / 'child.py'))
        check_keys(file.config, file)

    return run


@pytest.mark.parametrize(
    'lines, nearest',
    [
        ('optim_wraper = dict(optimizer=dict(lr=1e-4))', 'optim_wrapper'),
        ('train_dataloder = dict(batch_size=4)', 'train_dataloader'),
        ("load_form = 'a.pth'", 'load_from'),
        ('custom_hook = []', 'custom_hooks'),
    ],
)
def test_a_misspelt_key_is_reported_the_nearest(check, lines, nearest):
    with pytest.raises(ValueError, match=f'{lines.split()[0]} in the config has no effect.*Is {nearest} meant'):
        check(lines)


@pytest.mark.parametrize(
    'lines',
    [
        '',
        'scale = 4',
        "my_root = '/data'",
        'val_dataloder = dict(batch_size=1)\nval_dataloader = val_dataloder',
        'train_pipeline = _base_.train_pipeline[:1]\ntrain_dataloader = dict(dataset=dict(pipeline=train_pipeline))',
        "pairs = dict(train=dict(data_root='x'))\ntrain_dataloader = dict(dataset=pairs['train'])",
    ],
)
def test_helpers_are_left_alone(check, lines):
    check(lines)


def test_a_helper_that_the_base_has_copied_already_is_refused(check):
    with pytest.raises(ValueError) as error:
        check("train_pipeline = [dict(type='LoadImageFromFile', key='gt')]")
    assert 'train_pipeline in' in str(error.value)
    assert 'train_dataloader = dict(dataset=dict(pipeline=train_pipeline))' in str(error.value)


@pytest.mark.parametrize(
    'key, message',
    [
        ('train_pipeline.1.gt_patch_size', 'set train_dataloader.dataset.pipeline.1.gt_patch_size instead'),
        ('pairs.train.data_prefix.img', 'set train_dataloader.dataset.data_prefix.img instead'),
        ('pairs.train.data_root', 'set the key that was made of it'),
        ('optim_wraper.optimizer.lr', 'the config has no optim_wraper, and nothing reads it. Is optim_wrapper meant'),
        ('something', 'the config has no something, and nothing reads it.$'),
        ('scale', 'set the key that was made of it, or change it in the config file'),
    ],
)
def test_an_override_that_nothing_reads_is_refused(tmp_path, key, message):
    (tmp_path / 'base.py').write_text(BASE)
    with pytest.raises(ValueError, match=message) as error:
        check_overrides(Config.fromfile(tmp_path / 'base.py'), {'train_dataloader.batch_size': 3, key: 3})
    assert f'--cfg-options {key} has no effect' in str(error.value)


def test_overrides_that_are_read_pass(tmp_path):
    (tmp_path / 'base.py').write_text(BASE)
    options = [
        'optim_wrapper.optimizer.lr',
        'model.spd.losses.sgr',
        'spd.losses.sgr',
        'load_from',
        'env_cfg.cudnn_benchmark',
        'data_help',
    ]
    check_overrides(Config.fromfile(tmp_path / 'base.py'), dict.fromkeys(options, 1))

"""Registries of our own under mmagic's: names with a prefix, mmagic's names without, and no warning from mmengine."""

from pathlib import Path

import mmagic.registry
import mmengine.logging
import pytest
from mmengine.config import Config
from mmengine.registry import Registry
from mmengine.runner import Runner
from torch import nn

import mmsampriors
from mmsampriors import registry
from mmsampriors.checks.config_check import check_config
from mmsampriors.registry import MODELS, SCOPE, TRANSFORMS, build_network, build_part, is_a, name_classes

ROOT = Path(mmsampriors.__file__).resolve().parents[1]
CHILD = """
_base_ = ['mmagic::restormer/restormer_official_rain13k.py', 'mmsampriors::_base_/spd.py',
          'mmsampriors::_base_/schedules/restormer_derain.py']
model = dict(type='mmsampriors.SPDModel', spd=_base_.spd)
custom_hooks = _base_.get('custom_hooks', []) + _base_.spd_hooks
"""
SMALL = {
    'model.generator.dim': 8,
    'model.generator.num_blocks': [1] * 4,
    'model.generator.num_refinement_blocks': 1,
    'model.spd.masks': dict(type='NoMasks'),
    'train_dataloader.num_workers': 0,
    'val_dataloader.num_workers': 0,
}


@pytest.fixture
def said(monkeypatch):
    """What mmengine's registries print."""
    messages = []
    monkeypatch.setattr(mmengine.logging, 'print_log', lambda message, *args, **kwargs: messages.append(message))
    return messages


def test_every_registry_of_mmagic_has_a_child():
    theirs = {
        name for name, node in vars(mmagic.registry).items() if isinstance(node, Registry) and node.parent is not None
    }
    ours = {name for name, node in vars(registry).items() if isinstance(node, Registry) and node.scope == SCOPE}
    assert {name for name in theirs if not name.startswith('MMENGINE_')} == ours


def test_a_runner_of_all_bases_is_built_without_a_warning(tmp_path, pairs, said, monkeypatch):
    (tmp_path / 'user.py').write_text(CHILD)
    cfg = Config.fromfile(tmp_path / 'user.py')
    folders = dict(data_root=str(pairs), data_prefix=dict(img='input', gt='target'))
    cfg.merge_from_dict({**SMALL, 'train_dataloader.dataset': folders, 'val_dataloader.dataset': folders})
    cfg.test_dataloader = cfg.test_evaluator = cfg.test_cfg = None
    cfg.work_dir = str(tmp_path / 'work')
    check_config(cfg)
    runner = Runner.from_cfg(cfg)
    runner.train_loop, runner.val_loop  # noqa: B018  (built on first use)
    assert type(runner.model).__name__ == 'SPDModel'
    assert not [message for message in said if 'Failed to' in str(message)]


def test_names_of_mmagic_are_found_from_here_and_ours_from_there():
    network = build_part(MODELS, dict(type='NAFNet', mid_channels=4, enc_blk_nums=[1], dec_blk_nums=[1]))
    assert type(network).__name__ == 'NAFNet'
    loss = mmagic.registry.MODELS.build(dict(type='mmsampriors.SGRLoss'))
    assert type(loss).__name__ == 'SGRLoss'
    assert TRANSFORMS.get('PairedRandomCrop').__module__.startswith('mmagic.')


def test_nothing_of_ours_claims_a_place_in_mmagics_registries():
    ours = set()
    for node in vars(registry).values():
        if isinstance(node, Registry) and node.scope == SCOPE:
            node.import_from_location()
            ours |= set(node.module_dict)
    assert {'SPDModel', 'DnCNN', 'VGGExtractor', 'CompileHook', 'BorderPSNR', 'PadToPatch'} <= ours
    for node in vars(mmagic.registry).values():
        if isinstance(node, Registry):
            assert not ours & set(node.module_dict)


@pytest.mark.parametrize(
    'cfg, is_one',
    [
        (dict(type='SPDModel'), True),
        (dict(type='mmsampriors.SPDModel'), True),
        (dict(type='other.SPDModel'), False),
        (dict(), False),
    ],
)
def test_is_a(cfg, is_one):
    assert is_a(cfg, 'SPDModel') is is_one


def test_classes_in_a_config_become_their_names():
    from mmagic.models import NAFNet

    from mmsampriors.models import SPDModel

    class Own:
        pass

    cfg = dict(model=dict(type=SPDModel, generator=dict(type=NAFNet)), parts=[dict(type=Own), (dict(type='PSNR'),)])
    name_classes(cfg)
    assert cfg == dict(
        model=dict(type='mmsampriors.SPDModel', generator=dict(type='NAFNet')),
        parts=[dict(type=Own), (dict(type='PSNR'),)],
    )


def test_a_network_of_a_users_own_has_the_name_that_it_was_given(monkeypatch):
    class Own(nn.Module):
        pass

    monkeypatch.setitem(mmagic.registry.MODELS.module_dict, 'DnCNN', Own)
    assert type(build_network(dict(type='DnCNN'))) is Own
    assert type(build_network(dict(type='mmsampriors.DnCNN', channels=4, depth=3))) is not Own

import pytest
import torch
from mmengine.config import Config

import mmsampriors.models  # noqa: F401
from mmsampriors.engine.export import config_text, stock_model, student_config, student_weights, write_student
from mmsampriors.inference.plain_config import read_plain_config
from mmsampriors.models import Phase
from mmsampriors.registry import MODELS

BASES = (
    "_base_ = ['mmagic::nafnet/nafnet_c64eb11128mb1db1111_8xb8-lr1e-3-400k_gopro.py', 'mmsampriors::_base_/spd.py']\n"
)
SPD = """
model = dict(type='mmsampriors.SPDModel', spd=_base_.spd)
custom_hooks = _base_.get('custom_hooks', []) + _base_.spd_hooks
"""


@pytest.fixture
def cfg(tmp_path):
    (tmp_path / 'user.py').write_text(BASES + SPD)
    cfg = Config.fromfile(tmp_path / 'user.py')
    cfg.model.generator.update(type='NAFNet', mid_channels=4, enc_blk_nums=[1], dec_blk_nums=[1])
    return cfg


def test_stock_model_is_the_inherited_one(cfg):
    stock, before = stock_model(cfg.model), cfg.model.to_dict()
    assert stock.type == 'BaseEditModel' and 'spd' not in stock
    assert cfg.model.to_dict() == before
    assert {key: value for key, value in before.items() if key not in ('type', 'spd')} == {
        key: value for key, value in stock.to_dict().items() if key != 'type'
    }


def test_the_config_names_nothing_of_this_package(cfg):
    text = student_config(cfg).pretty_text
    assert not any(word in text for word in ('mmsampriors', 'SPD', 'spd', 'Felzenszwalb', 'ExportStudentHook'))
    stock = student_config(cfg)
    assert stock.default_scope == 'mmagic'
    assert set(stock) == {'default_scope', 'model', 'test_pipeline'} and 'gt' not in str(stock.test_pipeline)
    assert len(config_text(stock.to_dict()).splitlines()) <= 30


def in_rgb(cfg):
    for step in cfg.train_dataloader.dataset.pipeline[:2]:
        step.channel_order = 'rgb'
    return cfg


def test_the_config_loads_in_the_order_that_the_student_was_trained_on(cfg):
    def orders(cfg):
        return [step.channel_order for step in student_config(cfg).test_pipeline if step.type == 'LoadImageFromFile']

    assert orders(cfg) == ['bgr'], "mmagic's config validates on RGB"
    assert orders(in_rgb(cfg)) == ['rgb']


def test_a_set_that_degrades_its_ground_truth_gives_its_loading_alone(cfg):
    load = dict(type='LoadImageFromFile', key='gt', channel_order='rgb')
    steps = [load, dict(type='CopyValues', src_keys=['gt'], dst_keys=['img']), dict(type='PackInputs')]
    cfg.test_dataloader = [dict(dataset=dict(type='RepeatDataset', times=1, dataset=dict(pipeline=steps)))]
    cfg.model = stock_model(cfg.model)
    assert student_config(cfg).test_pipeline == [{**load, 'key': 'img'}, dict(type='PackInputs')]


def test_the_text_of_a_config_is_read_as_it_was(tmp_path):
    cfg = dict(a=[1, (2,), ()], b={'not.a_name': 'text', 'class': None}, c=dict(lists=[list(range(99))], empty={}))
    (tmp_path / 'cfg.py').write_text(config_text(cfg))
    assert Config.fromfile(tmp_path / 'cfg.py').to_dict() == cfg and read_plain_config(tmp_path / 'cfg.py') == cfg
    assert max(map(len, config_text(cfg).splitlines())) <= 120


@pytest.mark.parametrize('imports', [['their.package', 'mmsampriors.models'], 'their.package'])
def test_custom_imports_of_others_stay(cfg, imports):
    cfg.custom_imports = dict(imports=imports)
    assert student_config(cfg).custom_imports.imports == ['their.package']


def test_a_network_of_this_package_is_found_by_its_name(cfg):
    cfg.model.generator = dict(type='mmsampriors.DnCNN', channels=3, width=4, depth=3)
    assert type(MODELS.build(student_config(cfg).model).generator).__name__ == 'DnCNN'


def test_dicts_of_our_bases_go_to_mmagics_scope(cfg):
    cfg.model.pixel_loss = dict(type='L1Loss', _scope_='mmsampriors')
    assert student_config(cfg).model.pixel_loss == dict(type='L1Loss')


def test_written_student_loads_strictly_in_the_stock_model_and_restores_alike(cfg, tmp_path):
    model = MODELS.build(cfg.model)
    model.enter(Phase(True, True, 1.0))
    write_student(model.state_dict(), cfg, str(tmp_path / 'out' / 'student.pth'))
    assert sorted(path.name for path in (tmp_path / 'out').iterdir() if path.is_file()) == ['student.pth', 'student.py']
    stock = MODELS.build(Config.fromfile(tmp_path / 'out' / 'student.py').model)
    assert type(stock).__name__ == 'BaseEditModel'
    checkpoint = torch.load(tmp_path / 'out' / 'student.pth', weights_only=True)
    stock.load_state_dict(checkpoint['state_dict'], strict=True)
    images = torch.rand(1, 3, 17, 23)
    with torch.no_grad():
        assert torch.equal(stock.eval()(images), model.eval()(images))


def test_the_config_of_weights_of_the_other_suffix_is_not_replaced(cfg, tmp_path):
    weights = MODELS.build(cfg.model).state_dict()
    write_student(weights, cfg, str(tmp_path / 'student.safetensors'))
    write_student(weights, cfg, str(tmp_path / 'student.pth'))
    before = {path: path.read_bytes() for path in tmp_path.glob('student.*')}
    with pytest.raises(FileExistsError, match='student.safetensors is another student, whose config '):
        write_student(weights, in_rgb(cfg), str(tmp_path / 'student.pth'))
    assert {path: path.read_bytes() for path in tmp_path.glob('student.*')} == before


def test_exporting_a_student_again_changes_nothing():
    weights = {
        'generator.intro.weight': torch.rand(2),
        'spf.project.bias': torch.rand(2),
        'refiner.intro.weight': torch.rand(2),
        'losses.spd.pixel_loss.vgg': torch.rand(1),
        'losses.sgr.adaptive_weight.sums': torch.rand(1),
        'pixel_loss.vgg': torch.rand(1),
    }
    once = student_weights(weights)
    assert once.keys() == {'generator.intro.weight', 'pixel_loss.vgg'}
    assert student_weights(once) == once


def test_a_checkpoint_without_a_student_is_refused(cfg, tmp_path):
    with pytest.raises(ValueError, match='none of its 1 entries begins with generator.'):
        write_student({'backbone.weight': torch.rand(2)}, cfg, str(tmp_path / 'student.pth'))
    assert not (tmp_path / 'student.pth').exists()

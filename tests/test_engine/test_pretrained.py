import pytest
import torch
from mmengine.runner import Runner

import mmsampriors.engine  # noqa: F401
import mmsampriors.models  # noqa: F401
from mmsampriors.engine.export import stock_model
from mmsampriors.engine.pretrained import fit_to_model
from mmsampriors.registry import MODELS


@pytest.fixture
def stock(model_cfg, tmp_path):
    """A stock mmagic model and the checkpoint that mmagic saves of it."""
    model = MODELS.build(stock_model(model_cfg()))
    torch.save(dict(meta=dict(), state_dict=model.state_dict()), tmp_path / 'stock.pth')
    return model, str(tmp_path / 'stock.pth')


@pytest.mark.parametrize('prefix', ['', 'module.'])
def test_a_stock_checkpoint_becomes_the_student(model_cfg, stock, prefix):
    model = MODELS.build(model_cfg())
    checkpoint = {prefix + name: value for name, value in stock[0].state_dict().items()}
    count = len(checkpoint)
    assert f'all of its {count} weights' in fit_to_model(checkpoint, model)
    assert {name.split('.')[0] for name in checkpoint if not name.startswith('module.')} >= {'refiner', 'spf'}


def test_a_training_checkpoint_is_left_alone(model_cfg):
    model = MODELS.build(model_cfg())
    state = model.state_dict()
    assert fit_to_model(dict(state_dict=state), model) == '' and state.keys() == model.state_dict().keys()


@pytest.mark.parametrize(
    'change, message',
    [
        (
            lambda state: {f'params.{name}': value for name, value in state.items()},
            r"are missing .*begin with \['params'\]",
        ),
        (lambda state: {}, 'The 0 entries'),
        (
            lambda state: {**state, 'generator.intro.bias': torch.full((4,), float('nan'))},
            r'1 weights are not finite \(first: generator.intro.bias\)',
        ),
        (lambda state: dict(list(state.items())[1:]), '1 of its .*first: generator.intro.weight'),
        (
            lambda state: {name: value[..., :1] for name, value in state.items()},
            'have another shape .*generator.intro.weight',
        ),
        (
            lambda state: {**state, 'refiner.intro.weight': torch.rand(2)},
            'another shape .first: refiner.intro.weight, .2,.',
        ),
    ],
)
def test_what_does_not_fit_is_refused(model_cfg, stock, change, message):
    with pytest.raises(ValueError, match=message):
        fit_to_model(dict(state_dict=change(stock[0].state_dict())), MODELS.build(model_cfg()))


def test_a_run_starts_from_a_stock_checkpoint(runner_cfg, stock):
    runner = Runner.from_cfg(runner_cfg(load_from=stock[1], schedule=dict(type='TwoStageSchedule')))
    runner.call_hook('before_run')
    spf = {name: value.clone() for name, value in runner.model.spf.state_dict().items()}
    runner.load_or_resume()
    for network in (runner.model.generator, runner.model.refiner, runner.model.first_student):
        for name, value in stock[0].generator.state_dict().items():
            assert torch.equal(value, network.state_dict()[name])
    for name, value in spf.items():
        assert torch.equal(value, runner.model.spf.state_dict()[name])


def test_a_refiner_of_another_architecture_keeps_its_weights(model_cfg, stock):
    refiner = dict(type='NAFNet', img_channels=3, mid_channels=2, enc_blk_nums=[1], dec_blk_nums=[1])
    model = MODELS.build(model_cfg(dict(refiner=refiner)))
    before = {name: value.clone() for name, value in model.refiner.state_dict().items()}
    checkpoint = dict(stock[0].state_dict())
    fit_to_model(checkpoint, model)
    model.load_state_dict(checkpoint, strict=True)
    for name, value in before.items():
        assert torch.equal(value, model.refiner.state_dict()[name])


def test_a_trained_refiner_is_kept(model_cfg):
    model = MODELS.build(model_cfg())
    checkpoint = {name: value + 1 for name, value in model.state_dict().items()}
    assert fit_to_model(dict(checkpoint), model) == ''
    fit_to_model(checkpoint, model)
    assert torch.equal(checkpoint['refiner.intro.weight'], model.refiner.intro.weight + 1)

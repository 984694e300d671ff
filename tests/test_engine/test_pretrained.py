import mmsampriors.compat  # noqa: F401, I001
import pytest
import torch
from mmagic.registry import MODELS
from mmengine.runner import Runner

import mmsampriors.engine  # noqa: F401
import mmsampriors.models  # noqa: F401
from mmsampriors.engine.export import stock_model
from mmsampriors.engine.pretrained import fit_to_model


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


@pytest.mark.parametrize('change, message', [
    (lambda state: {f'params.{name}': value
                    for name, value in state.items()}, r"are missing .*begin with \['params'\]"),
    (lambda state: {}, 'Its 0 entries'),
    (lambda state: dict(list(state.items())[1:]), '1 of the .*first: generator.intro.weight'),
    (lambda state: {name: value[..., :1]
                    for name, value in state.items()}, 'have another shape .*generator.intro.weight'),
    (lambda state: {**state, 'refiner.intro.weight': torch.rand(2)}, 'another shape .first: refiner.intro.weight'),
])
def test_what_does_not_fit_is_refused(model_cfg, stock, change, message):
    with pytest.raises(ValueError, match=message):
        fit_to_model(dict(state_dict=change(stock[0].state_dict())), MODELS.build(model_cfg()))


def test_a_run_starts_from_a_stock_checkpoint(runner_cfg, stock):
    runner = Runner.from_cfg(runner_cfg(load_from=stock[1]))
    runner.call_hook('before_run')
    refiner = {name: value.clone() for name, value in runner.model.refiner.state_dict().items()}
    runner.load_or_resume()
    for name, value in stock[0].generator.state_dict().items():
        assert torch.equal(value, runner.model.generator.state_dict()[name])
    for name, value in refiner.items():
        assert torch.equal(value, runner.model.refiner.state_dict()[name])

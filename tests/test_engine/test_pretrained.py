import pytest
import torch
from mmengine.runner import Runner
from networks import enlarging
from safetensors.torch import save_file

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


@pytest.mark.parametrize('container', ['', 'state_dict', 'params', 'params_ema'])
@pytest.mark.parametrize('prefix', ['generator.', 'module.generator.', '', 'module.'])
def test_a_checkpoint_of_mmagic_or_of_the_authors_becomes_the_student(model_cfg, stock, prefix, container):
    model = MODELS.build(model_cfg())
    weights = {prefix + name: value for name, value in stock[0].generator.state_dict().items()}
    others = {name: value + 1 for name, value in weights.items()}
    checkpoint = {container: weights, **(dict(params=others) if container == 'params_ema' else {})}
    checkpoint = checkpoint if container else dict(weights)
    message = fit_to_model(checkpoint, model)
    assert f'all of its {len(weights)} weights' in message
    of = f', of {container}' if container else ''
    assert (f'({len(weights)} weights, bare keys{of})' in message) == ('generator' not in prefix)
    model.load_state_dict(checkpoint['state_dict'])
    for network in (model.generator, model.refiner):
        assert torch.equal(network.intro.weight, stock[0].generator.intro.weight)


@pytest.mark.parametrize('refiner_from', [None, 'refiner.pth'])
def test_a_refiner_behind_a_reduction_starts_from_the_student_too(model_cfg, refiner_from):
    generator = enlarging('edsr', 4)
    model = MODELS.build(model_cfg(dict(refiner=generator), generator=generator))
    model.refiner_from, random = refiner_from, model.refiner.network.conv_first.weight.clone()
    torch.manual_seed(1)  # other weights than those of the refiner, which were drawn first
    student = MODELS.build(stock_model(model_cfg(generator=generator)))
    checkpoint = dict(state_dict=student.state_dict())
    fit_to_model(checkpoint, model)
    model.load_state_dict(checkpoint['state_dict'])
    expected = random if refiner_from else student.generator.conv_first.weight
    assert torch.equal(model.refiner.network.conv_first.weight, expected)


def test_bare_weights_of_a_larger_network_are_refused(model_cfg, stock):
    weights = {**stock[0].generator.state_dict(), 'encoders.9.beta': torch.zeros(1)}
    with pytest.raises(ValueError, match=r'1 weights are unknown to it \(first: generator.encoders.9.beta\)'):
        fit_to_model(dict(params=weights), MODELS.build(model_cfg()))


def test_a_training_checkpoint_is_left_alone(model_cfg):
    model = MODELS.build(model_cfg())
    state = model.state_dict()
    assert fit_to_model(dict(state_dict=state), model) == '' and state.keys() == model.state_dict().keys()


@pytest.mark.parametrize(
    'change, message',
    [
        (
            lambda state: {f'params.{name}': value for name, value in state.items()},
            r'are missing .* are generator.params.generator.intro.weight .*; expected are generator.intro.weight \(4,',
        ),
        (lambda state: {}, 'holds no state dict'),
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
            'another shape or kind of number .first: refiner.intro.weight, .2,.',
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
    for network in (runner.model.generator, runner.model.refiner, runner.model.initial_student):
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
    model.load_state_dict(checkpoint['state_dict'], strict=True)
    for name, value in before.items():
        assert torch.equal(value, model.refiner.state_dict()[name])


def test_a_trained_refiner_is_kept(model_cfg):
    model = MODELS.build(model_cfg())
    checkpoint = {name: value + 1 for name, value in model.state_dict().items()}
    assert fit_to_model(dict(checkpoint), model) == ''
    fit_to_model(checkpoint, model)
    assert torch.equal(checkpoint['state_dict']['refiner.intro.weight'], model.refiner.intro.weight + 1)


@pytest.mark.parametrize('suffix', ['.pth', '.safetensors'])
def test_a_run_starts_from_the_authors_file(runner_cfg, stock, tmp_path, suffix):
    weights, file = stock[0].generator.state_dict(), str(tmp_path / f'official{suffix}')
    save_file(weights, file) if suffix == '.safetensors' else torch.save(dict(params=weights), file)
    runner = Runner.from_cfg(runner_cfg(load_from=file))
    runner.call_hook('before_run')
    runner.load_or_resume()
    assert all(value.equal(runner.model.generator.state_dict()[name]) for name, value in weights.items())

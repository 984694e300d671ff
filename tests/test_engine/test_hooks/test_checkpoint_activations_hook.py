import copy
from types import SimpleNamespace

import pytest
import torch
from mmagic.registry import MODELS
from mmagic.structures import DataSample
from networks import NAFNET, RESTORMER, SWINIR, enlarging
from torch import nn

import mmsampriors.models  # noqa: F401
from mmsampriors.engine.export import student_weights
from mmsampriors.engine.hooks import CheckpointActivationsHook
from mmsampriors.engine.hooks.speed import blocks_of
from mmsampriors.models import Phase

NETWORKS = dict(
    nafnet={**NAFNET, 'enc_blk_nums': [2, 1]},
    restormer=RESTORMER,
    swinir={**SWINIR, 'depths': [2, 2], 'num_heads': [2, 2], 'drop_path_rate': 0.5},
)
BLOCKS = dict(nafnet=('NAFBlock', 6), restormer=('TransformerBlock', 8), swinir=('RSTB', 2))


@MODELS.register_module(force=True)
class EntryInABlock(nn.Module):
    """Its first convolution, where SPF's features enter, is part of its first block."""

    def __init__(self):
        super().__init__()
        bodies = (nn.Sequential(nn.Conv2d(3, 3, 3, padding=1), nn.GELU()) for _ in range(2))
        self.blocks = nn.Sequential(*map(Residual, bodies))

    def forward(self, image):
        return self.blocks(image)


class Residual(nn.Module):
    def __init__(self, body):
        super().__init__()
        self.body = body

    def forward(self, image):
        return image + self.body(image)


def checkpointed(model):
    copied = copy.deepcopy(model)
    CheckpointActivationsHook().before_train(SimpleNamespace(model=copied))
    return copied


def build(model_cfg, generator, phase=Phase(True, True, 1.0)):
    model = MODELS.build(
        model_cfg(dict(masks=dict(type='NoMasks'), feature_extractor=None, losses=dict(sgr=None)), generator=generator)
    ).double()
    nn.init.normal_(model.spf.project.weight)
    model.train().enter(phase)
    return model


def losses_of(model):
    gt = torch.rand(1, 3, 16, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    samples = DataSample.stack([DataSample(gt_img=gt[0], metainfo=dict(img_output_channel_order='RGB'))])
    torch.manual_seed(1)  # of dropped paths
    return model(gt + 0.1, samples, mode='loss')


def gradients(model):
    model.zero_grad()
    sum(losses_of(model).values()).backward()
    return {name: parameter.grad for name, parameter in model.named_parameters()}


@pytest.mark.parametrize('phase', [Phase(True, True, 1.0), Phase(False, True, 0.0), Phase(True, False, 1.0)])
@pytest.mark.parametrize('name', NETWORKS)
def test_gradients_are_the_same(model_cfg, monkeypatch, name, phase):
    # The losses are in single precision otherwise.
    monkeypatch.setattr(torch.Tensor, 'float', torch.Tensor.double)
    plain = build(model_cfg, NETWORKS[name], phase)
    hooked = checkpointed(plain)
    expected, found = gradients(plain), gradients(hooked)
    assert any(gradient is not None and gradient.any() for gradient in expected.values())
    for key, gradient in expected.items():
        torch.testing.assert_close(found[key], gradient, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize('name', NETWORKS)
def test_blocks_are_found(name):
    kind, count = BLOCKS[name]
    assert [type(block).__name__ for block in blocks_of(MODELS.build(NETWORKS[name]))] == [kind] * count


def test_nothing_else_changes(model_cfg):
    plain = build(model_cfg, NETWORKS['nafnet']).eval()
    hooked = checkpointed(plain)
    assert list(hooked.state_dict()) == list(plain.state_dict())
    assert student_weights(hooked.state_dict()).keys() == student_weights(plain.state_dict()).keys()
    image = torch.rand(1, 3, 16, 16, dtype=torch.float64)
    with torch.no_grad():
        assert torch.equal(hooked.generator(image), plain.generator(image))


def kept_bytes(run):
    """Bytes of the tensors that a graph keeps for its backward pass."""
    kept = {}

    def pack(tensor):
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        graph = run()
    assert graph
    return sum(kept.values())


def test_a_graph_keeps_far_less(model_cfg):
    plain = build(model_cfg, NETWORKS['nafnet'])
    image = torch.rand(1, 3, 64, 64, dtype=torch.float64)
    full, less = (kept_bytes(lambda: model.generator(image).sum()) for model in (plain, checkpointed(plain)))
    assert less < full / 2


def test_an_averaged_copy_runs_on_its_own_weights(model_cfg):
    """As EMAHook makes one."""
    hooked = checkpointed(build(model_cfg, NETWORKS['nafnet']))
    copied, image = copy.deepcopy(hooked), torch.rand(1, 3, 16, 16, dtype=torch.float64)
    before = hooked.generator(image)
    for parameter in copied.parameters():
        nn.init.zeros_(parameter)
    assert torch.equal(hooked.generator(image), before) and torch.equal(copied.generator(image), image)


def test_features_that_enter_a_block_are_there_in_the_backward_pass(model_cfg, monkeypatch):
    monkeypatch.setattr(torch.Tensor, 'float', torch.Tensor.double)
    plain = build(model_cfg, dict(type='EntryInABlock'))
    assert plain.spf.entry == 'blocks.0.body.0'
    expected, found = gradients(plain), gradients(checkpointed(plain))
    for key, gradient in expected.items():
        torch.testing.assert_close(found[key], gradient)


def test_a_refiner_of_plain_layers_stays_whole(model_cfg):
    hooked = checkpointed(build(model_cfg, enlarging('edsr', 2)))
    blocks = list(blocks_of(hooked.generator))
    assert blocks and all('forward' in vars(block) for block in blocks) and not list(blocks_of(hooked.refiner))


@pytest.mark.parametrize(
    'network, reason',
    [
        (nn.Sequential(nn.Conv2d(3, 3, 1), nn.ReLU()), 'Sequential has no blocks'),
        (nn.Sequential(Residual(nn.BatchNorm2d(3))), 'would count each image twice'),
    ],
)
def test_networks_without_blocks_or_with_counts_are_refused(model_cfg, network, reason):
    model = build(model_cfg, NETWORKS['nafnet'])
    model.generator = network
    with pytest.raises(ValueError, match=reason):
        checkpointed(model)

from urllib.error import URLError

import pytest
import torch
from torch import nn
from torchvision.models import VGG19_Weights
from torchvision.models.vgg import cfgs, make_layers

import mmsampriors.models  # noqa: F401
from mmsampriors.models.feature_extractors import RELU, VGGExtractor
from mmsampriors.registry import MODELS, build_part


@pytest.fixture(scope='module')
def network():
    """torchvision's vgg19 without its classifier, whose 124 million weights would take seconds."""
    torch.manual_seed(1)
    network = nn.Module()
    network.features = make_layers(cfgs['E'])
    return network.eval()


@pytest.fixture(scope='module')
def weights_file(network, tmp_path_factory):
    path = tmp_path_factory.mktemp('vgg') / 'vgg19.pth'
    torch.save({**network.state_dict(), 'classifier.0.bias': torch.zeros(4)}, path)
    return path


@torch.no_grad()
def test_a_file_of_weights_gives_the_activations_of_torchvisions_network(network, weights_file):
    images = torch.rand(1, 3, 48, 40)
    mean, std = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1), torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
    extractor = VGGExtractor(layer='relu4_4', weights=str(weights_file)).eval()
    torch.testing.assert_close(extractor(images), network.features[:27]((images - mean) / std))


@pytest.mark.parametrize(
    'layer, channels, stride',
    [('relu1_2', 64, 1), ('relu2_2', 128, 2), ('relu3_4', 256, 4), ('relu4_4', 512, 8), ('relu5_4', 512, 16)],
)
@torch.no_grad()
def test_layers_end_with_their_activation(layer, channels, stride):
    extractor = VGGExtractor(layer=layer, weights='random')
    features = extractor(torch.rand(1, 3, 32, 32))
    assert features.shape == (1, channels, 32 // stride, 32 // stride)
    assert isinstance(extractor.features[-1], nn.ReLU) and features.min() >= 0
    convolutions = sum(isinstance(module, nn.Conv2d) for module in extractor.features)
    block, position = int(layer[4]), int(layer[6])
    assert convolutions == [0, 2, 4, 8, 12][block - 1] + position
    assert set(RELU) >= {layer}


def test_activations_are_not_in_place_and_pass_a_gradient():
    extractor = (
        build_part(MODELS, dict(type='VGGExtractor', layer='relu2_2', weights='random')).eval().requires_grad_(False)
    )
    assert not any(module.inplace for module in extractor.modules() if isinstance(module, nn.ReLU))
    images = torch.rand(1, 3, 16, 16, requires_grad=True)
    extractor(images).sum().backward()
    assert images.grad.abs().sum() > 0


def test_a_missing_file_is_named():
    with pytest.raises(FileNotFoundError, match='model.spd.feature_extractor.weights names /no/vgg.pth'):
        VGGExtractor(weights='/no/vgg.pth')


def test_a_truncated_file_is_named(weights_file, tmp_path):
    path = tmp_path / 'cut.pth'
    path.write_bytes(weights_file.read_bytes()[:100_000])
    with pytest.raises(ValueError, match='cut.pth, which cannot be read as weights'):
        VGGExtractor(weights=str(path))


@pytest.mark.parametrize(
    'content, message',
    [
        (dict(state_dict=dict()), 'holds no state dict'),
        ([1, 2], 'holds a list; expected a dict of tensors'),
        ({'conv.weight': torch.zeros(2)}, "no state dict of torchvision's vgg19: it lacks"),
        (
            {f'features.{key}': torch.zeros(2) for key in make_layers(cfgs['E']).state_dict()},
            'or has them in another shape',
        ),
    ],
)
def test_other_content_is_named(content, message, tmp_path):
    path = tmp_path / 'other.pth'
    torch.save(content, path)
    with pytest.raises(ValueError, match=f'other.pth.*{message}'):
        VGGExtractor(weights=str(path))


@pytest.mark.parametrize('failure', [URLError('no route to host'), ConnectionResetError('reset')])
def test_a_failed_download_says_the_way_out(monkeypatch, tmp_path, failure):

    def fetch(*args, **kwargs):
        raise failure

    monkeypatch.setattr(torch.hub, 'get_dir', lambda: str(tmp_path))
    monkeypatch.setattr('urllib.request.urlopen', fetch)
    with pytest.raises(
        FileNotFoundError, match='vgg19-.* cannot be downloaded .*feature_extractor.weights.*EfficientNetExtractor'
    ):
        VGGExtractor()


def test_imagenet_weights_are_torchvisions(monkeypatch, tmp_path, network):
    monkeypatch.setattr(torch.hub, 'get_dir', lambda: str(tmp_path))
    (tmp_path / 'checkpoints').mkdir()
    name = VGG19_Weights.IMAGENET1K_V1.url.rsplit('/', 1)[1]
    torch.save(network.state_dict(), tmp_path / 'checkpoints' / name)
    assert torch.equal(VGGExtractor().features[0].weight, network.features[0].weight)


def test_an_unknown_layer_is_refused():
    with pytest.raises(ValueError, match="spd.feature_extractor.layer must be one of .*found 'relu9_1'"):
        VGGExtractor(layer='relu9_1', weights='random')

import cv2
import pytest
import skimage.data
import timm
import torch

import mmsampriors.models  # noqa: F401
from mmsampriors.masks.sam.tiny import imagenet_weights
from mmsampriors.models.feature_extractors import EfficientNetExtractor
from mmsampriors.registry import MODELS, build_part


@pytest.fixture(scope='module')
def network():
    network = timm.create_model('tf_efficientnet_lite0', pretrained=False)
    network.load_state_dict(imagenet_weights(network))
    return network.eval()


def photograph(name, side=224):
    image = getattr(skimage.data, name)()
    short = min(image.shape[:2])
    top, left = (image.shape[0] - short) // 2, (image.shape[1] - short) // 2
    image = cv2.resize(image[top : top + short, left : left + short], (side, side), interpolation=cv2.INTER_AREA)
    return torch.from_numpy(image).permute(2, 0, 1)[None] / 255


@pytest.mark.parametrize('name, classes', [('chelsea', range(281, 286)), ('coffee', (504, 967))])
@torch.no_grad()
def test_the_embedded_weights_know_imagenet(network, name, classes):
    images = EfficientNetExtractor().normalize(photograph(name))
    assert network(images).argmax().item() in classes


@pytest.mark.parametrize(
    'stage, channels, stride',
    [(0, 16, 2), (1, 24, 4), (2, 40, 8), (3, 80, 16), (4, 112, 16), (5, 192, 32), (6, 320, 32)],
)
@torch.no_grad()
def test_features_are_those_of_the_network_at_each_stage(network, stage, channels, stride):
    extractor, images = EfficientNetExtractor(stage=stage).eval(), photograph('chelsea', 96)
    expected = []
    handle = network.blocks[stage].register_forward_hook(lambda module, inputs, output: expected.append(output.clone()))
    network((images - 127 / 255) / (128 / 255))
    handle.remove()
    features = extractor(images)
    assert features.shape == (1, channels, 96 // stride, 96 // stride)
    # Folded normalizations round otherwise.
    torch.testing.assert_close(features, expected[0], rtol=0, atol=1e-5 * expected[0].abs().max().item())
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in extractor.modules())


@torch.no_grad()
def test_sizes_that_no_stride_divides_are_taken():
    assert EfficientNetExtractor(stage=2).eval()(torch.rand(2, 3, 49, 70)).shape == (2, 40, 7, 9)


def test_gradient_reaches_the_images_of_a_frozen_feature_extractor():
    extractor = build_part(MODELS, dict(type='EfficientNetExtractor', stage=1)).eval().requires_grad_(False)
    images = torch.rand(1, 3, 32, 32, requires_grad=True)
    extractor(images).square().mean().backward()
    assert images.grad.abs().sum() > 0


def test_random_weights_are_said_aloud(monkeypatch):
    said = []
    monkeypatch.setattr(
        'mmsampriors.models.feature_extractors.print_log', lambda message, **kwargs: said.append(message)
    )
    EfficientNetExtractor(weights='random')
    assert 'RANDOM' in said[0]


@pytest.mark.parametrize(
    'wrong, message',
    [
        (dict(stage=7), 'spd.feature_extractor.stage must be 0 to 6, found 7'),
        (dict(weights='jft'), "spd.feature_extractor.weights.*found 'jft'"),
    ],
)
def test_wrong_settings_are_refused_by_name(wrong, message):
    with pytest.raises(ValueError, match=message):
        EfficientNetExtractor(**wrong)


def test_weights_that_do_not_fit_the_network_are_refused():
    with pytest.raises(ValueError, match='does not fit tf_efficientnet_lite0'):
        imagenet_weights(torch.nn.Conv2d(3, 4, 3))

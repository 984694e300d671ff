import copy

import timm
import torch
from torch import nn

from mmsampriors.masks.sam.tiny import fold_norms


def randomized(network):
    """Normalizations that do something."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 2)
            nn.init.normal_(module.bias)
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
    return network.double().eval().requires_grad_(False)


def test_features_and_gradients_stay():
    network = randomized(timm.create_model('tf_efficientnet_lite0', pretrained=False).blocks[:2])
    folded = fold_norms(copy.deepcopy(network))
    images = torch.randn(2, 32, 12, 10, dtype=torch.float64, requires_grad=True)
    expected, found = network(images), folded(images)
    torch.testing.assert_close(found, expected)
    gradients = [torch.autograd.grad(features.square().sum(), images)[0] for features in (expected, found)]
    torch.testing.assert_close(*gradients)
    kinds = [type(module) for module in folded.modules()]
    assert not any(issubclass(kind, nn.BatchNorm2d) for kind in kinds) and kinds.count(nn.ReLU6) == 5
    assert not any(parameter.requires_grad for parameter in folded.parameters())


def test_a_normalization_that_follows_no_convolution_stays():
    network = randomized(nn.Sequential(nn.BatchNorm2d(3), nn.Conv2d(3, 4, 1), nn.ReLU(), nn.BatchNorm2d(4)))
    images = torch.randn(1, 3, 4, 4, dtype=torch.float64)
    expected = network(images)
    assert torch.equal(fold_norms(network)(images), expected) and isinstance(network[3], nn.BatchNorm2d)

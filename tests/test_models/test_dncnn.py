import pytest
import torch
from torch import nn

from mmsampriors.models.networks import DnCNN, NetworkProbe, probe_network


@pytest.mark.parametrize('channels', [3, 1])
def test_maps_images_of_any_size_to_their_own(channels):
    network = DnCNN(channels, width=8, depth=4)
    assert probe_network(network) == NetworkProbe(channels, 'noise.0', 8)
    assert network(torch.rand(2, channels, 17, 23)).shape == (2, channels, 17, 23)


def test_is_the_published_one():
    network = DnCNN()
    kinds = [type(layer) for layer in network.noise]
    assert kinds.count(nn.Conv2d) == 17 and kinds.count(nn.BatchNorm2d) == 15 and kinds.count(nn.ReLU) == 16
    assert kinds[0] == kinds[-1] == nn.Conv2d
    # 3*64*9 + 64, 15 times 64*64*9 + 2*64, 64*3*9 + 3.
    assert sum(parameter.numel() for parameter in network.parameters()) == 1792 + 15 * (36864 + 128) + 1731


def test_subtracts_what_it_predicts():
    network = DnCNN(width=4, depth=3).eval()
    images = torch.rand(1, 3, 9, 9)
    nn.init.zeros_(network.noise[-1].weight)
    nn.init.constant_(network.noise[-1].bias, 0.25)
    torch.testing.assert_close(network(images), images - 0.25)


def test_is_too_shallow():
    with pytest.raises(ValueError, match='at least 3 convolutions, found depth=2'):
        DnCNN(depth=2)


def test_is_a_plain_stack_without_normalization():
    kinds = [type(layer) for layer in DnCNN(width=4, depth=5, norm=False).noise]
    assert kinds == [nn.Conv2d, nn.ReLU] * 4 + [nn.Conv2d]
    assert all(layer.bias is not None for layer in DnCNN(width=4, depth=5, norm=False).noise[::2])

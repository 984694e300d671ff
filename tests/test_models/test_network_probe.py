import pytest
import torch
from torch import nn

import mmsampriors.models  # noqa: F401
from mmsampriors.models.networks import NetworkProbe, probe_network
from mmsampriors.registry import MODELS, build_part

NAFNET = dict(type='NAFNet', mid_channels=4, enc_blk_nums=[1], middle_blk_num=1, dec_blk_nums=[1])


class Halved(nn.Module):
    """Works at half the resolution, so that its first convolution makes no map at the image's own."""

    def __init__(self):
        super().__init__()
        self.down, self.up, self.last = (
            nn.Conv2d(3, 4, 2, stride=2),
            nn.ConvTranspose2d(4, 6, 2, stride=2),
            nn.Conv2d(6, 3, 1),
        )

    def forward(self, image):
        return self.last(self.up(self.down(image)))


class Shuffled(nn.Module):
    """Registers its modules in another order than it runs them, and one that it never runs."""

    def __init__(self, answer=lambda image: image):
        super().__init__()
        self.never, self.last, self.first = (
            nn.Conv2d(3, 2, 1),
            nn.Conv2d(7, 3, 3, padding=1),
            nn.Conv2d(3, 7, 3, padding=1),
        )
        self.dropout, self.answer = nn.Dropout(), answer

    def forward(self, image):
        return self.answer(self.last(self.first(image)))


class Deep(nn.Module):
    """Takes images of at least 64 pixels, and only gray ones."""

    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Conv2d(1, 5, 3, padding=1), nn.Conv2d(5, 1, 1)

    def forward(self, image):
        features = self.first(image)
        assert min(image.shape[2:]) >= 64, 'too small for six levels'
        return self.last(features)


@pytest.mark.parametrize('channels', [3, 1])
def test_finds_image_channels_and_entry(channels):
    network = build_part(MODELS, dict(**NAFNET, img_channels=channels))
    assert probe_network(network) == NetworkProbe(channels, 'intro', 4)


def test_entry_is_the_first_convolution_that_runs_not_the_first_that_is_registered():
    assert probe_network(Shuffled()) == NetworkProbe(3, 'first', 7)


def test_leaves_the_network_as_it_was():
    network = Shuffled().train()
    network.dropout.eval()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    probe_network(network)
    assert network.training and not network.dropout.training
    assert not any(module._forward_hooks for module in network.modules())
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_entry_can_be_named():
    assert probe_network(Shuffled(), 'last') == NetworkProbe(3, 'last', 3)
    assert probe_network(Halved(), 'up') == NetworkProbe(3, 'up', 6)


def test_without_a_map_at_full_resolution_there_is_no_entry():
    assert probe_network(Halved()) == NetworkProbe(3, None, 0)


@pytest.mark.parametrize(
    'entry, message',
    [('down', 'makes no feature map at the resolution'), ('nowhere', 'is no submodule of Halved.*down')],
)
def test_wrong_entry_is_refused_by_name(entry, message):
    with pytest.raises(ValueError, match=message):
        probe_network(Halved(), entry)


def test_entry_that_is_never_run_is_refused():
    with pytest.raises(ValueError, match='never.*makes no feature map'):
        probe_network(Shuffled(), 'never')


@pytest.mark.parametrize('scale', [2, 3, 4])
def test_networks_that_enlarge_the_image_say_by_how_much(scale):
    network = build_part(MODELS, dict(type='SRCNNNet', upscale_factor=scale))
    assert probe_network(network) == NetworkProbe(3, 'conv1', 64, scale)


def test_networks_that_change_the_size_by_no_whole_factor_are_refused():
    with pytest.raises(ValueError, match='maps an image of 3x32x32 to 3x16x16.*whole multiple'):
        probe_network(Shuffled(lambda image: image[..., ::2, ::2]))


def test_networks_that_take_no_small_image():
    assert probe_network(Deep()) == NetworkProbe(1, 'first', 5)


def test_networks_that_give_no_single_image_are_refused():
    with pytest.raises(ValueError, match='gave tuple instead of one image'):
        probe_network(Shuffled(lambda image: (image, image)))


def test_networks_of_other_channels_are_refused_with_the_reasons():
    with pytest.raises(ValueError, match='cannot be distilled.*3 channels.*1 channels'):
        probe_network(nn.Conv2d(6, 6, 3))

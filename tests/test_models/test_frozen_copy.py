import pytest
import torch
from torch import nn

import mmsampriors.models  # noqa: F401
from mmsampriors.models.networks import blend, frozen_copy
from mmsampriors.registry import MODELS, build_part


class Listed(nn.Module):
    """Weights in places that a plain convolution has not."""

    def __init__(self):
        super().__init__()
        self.scales = nn.ParameterList([nn.Parameter(torch.rand(3, 1, 1)) for _ in range(2)])
        self.norm, self.conv = nn.BatchNorm2d(3), nn.Conv2d(3, 3, 1, bias=False)

    def forward(self, image):
        return self.conv(self.norm(image * self.scales[0] + self.scales[1]))


@pytest.mark.parametrize(
    'network',
    [
        Listed(),
        build_part(MODELS, dict(type='NAFNet', img_channels=3, mid_channels=4, enc_blk_nums=[1], dec_blk_nums=[1])),
        build_part(
            MODELS,
            dict(
                type='Restormer',
                dim=8,
                num_blocks=[1, 1, 1, 1],
                num_refinement_blocks=1,
                heads=[1, 1, 1, 1],
                LayerNorm_type='BiasFree',
                dual_pixel_task=False,
            ),
        ),
        build_part(
            MODELS,
            dict(
                type='SwinIRNet',
                upscale=1,
                img_size=16,
                window_size=8,
                depths=[2],
                embed_dim=8,
                num_heads=[2],
                mlp_ratio=2,
                upsampler='',
                resi_connection='1conv',
                img_range=1.0,
            ),
        ),
    ],
)
def test_does_what_the_network_did_and_has_no_parameters(network):
    image = torch.rand(2, 3, 16, 16)
    network.eval()
    copy, before = frozen_copy(network), network(image).detach()
    assert not list(copy.parameters()) and copy.state_dict().keys() == network.state_dict().keys()
    with torch.no_grad():
        for weight in network.parameters():
            weight.add_(0.1)
    assert torch.equal(copy(image), before)
    copy.load_state_dict(network.state_dict())
    torch.testing.assert_close(copy(image), network(image).detach())


def test_a_blend_is_the_weighted_mean_of_all_but_whole_numbers():
    network, first = Listed().double(), Listed()
    network.norm.num_batches_tracked += 5
    network.norm.running_mean += 1
    expected = {
        name: 0.3 * weight.double() + 0.7 * first.state_dict()[name].double()
        for name, weight in network.state_dict().items()
    }
    expected['norm.num_batches_tracked'] = torch.tensor(5)
    parameters = list(network.parameters())
    blend(network, first, 0.3)
    for name, weight in network.state_dict().items():
        torch.testing.assert_close(weight, expected[name], check_dtype=False)
    assert all(one is other for one, other in zip(parameters, network.parameters()))


def test_sync_bn_leaves_the_copy_alone():
    copy, image = frozen_copy(Listed()), torch.rand(2, 3, 5, 4)
    before = copy(image)
    assert torch.equal(nn.SyncBatchNorm.convert_sync_batchnorm(copy)(image), before)

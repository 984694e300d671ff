import pytest
import torch
from small_sam import SIDE, small_sam

from mmsampriors.masks.sam.ops import embed_points


class OtherPromptEncoder(torch.nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, points, boxes, masks):
        sparse, dense = self.inner(points, boxes, masks)
        return 2 * sparse, dense


@pytest.mark.parametrize('dtype', [torch.float32, torch.float64])
def test_points_are_embedded_as_stock(dtype):
    encoder = small_sam().prompt_encoder
    points = torch.rand(7, 2, dtype=dtype) * SIDE
    expected = encoder(points=(points[:, None], torch.ones(7, 1)), boxes=None, masks=None)[0]
    assert embed_points(encoder, points).equal(expected)
    assert embed_points(OtherPromptEncoder(encoder), points).equal(2 * expected)

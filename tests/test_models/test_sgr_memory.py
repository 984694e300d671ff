import torch
from torch.utils._python_dispatch import TorchDispatchMode

from mmsampriors.masks import ImageMasks
from mmsampriors.models import Regions
from mmsampriors.models.losses import DistillationBatch, SGRLoss


class Sizes(TorchDispatchMode):
    """Notes the number of elements of every tensor that is made."""

    def __init__(self):
        super().__init__()
        self.largest = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        outputs = function(*args, **(kwargs or {}))
        for output in outputs if isinstance(outputs, (tuple, list)) else [outputs]:
            if isinstance(output, torch.Tensor):
                self.largest = max(self.largest, output.untyped_storage().nbytes() // output.element_size())
        return outputs


def test_nothing_is_as_large_as_features_of_every_mask():
    images, count, channels, side = 2, 16, 64, 8
    masks = [ImageMasks.from_masks(torch.rand(count, 4 * side, 4 * side) < 0.5) for _ in range(images)]
    restored, refined = torch.randn(2, images, channels, side, side)
    regions = Regions(masks, torch.empty(images, 3, 4 * side, 4 * side))
    weights = torch.full((images,), 1 / images)
    restored.requires_grad_()
    batch = DistillationBatch(restored, refined, restored, regions, weights, 1.0, None, extract=lambda image: image)
    with Sizes() as sizes:
        sum(SGRLoss()(batch).values()).backward()
    stacked_masks = images * count * (4 * side) ** 2
    assert sizes.largest == stacked_masks < images * count * channels * side**2

import pytest
import torch
from networks import NAFNET, RESTORMER, SWINIR
from torch import nn

import mmsampriors.models  # noqa: F401
from mmsampriors.masks import ImageMasks
from mmsampriors.models import Regions, SPFUnit
from mmsampriors.registry import MODELS, build_part

NETWORKS = dict(nafnet=NAFNET, restormer=RESTORMER, swinir={**SWINIR, 'drop_path_rate': 0.0})
ENTRIES = dict(nafnet='intro', restormer='patch_embed.proj', swinir='conv_first')


def random_masks(count, height, width):
    return ImageMasks.from_masks(torch.rand(count, height, width) < torch.linspace(0.2, 0.8, count)[:, None, None])


def unit(trained=True, **cfg):
    spf = SPFUnit(**{**dict(image_channels=3, entry_channels=5, channels=4, entry='intro'), **cfg})
    if trained:
        torch.nn.init.normal_(spf.project.weight, std=0.1)
    return spf.eval()


def fuse(spf, image, masks):
    return spf(image, Regions(masks, image))


def permuted(masks, order):
    return ImageMasks(
        masks.bitmaps[order], masks.scores[order], masks.stability[order], masks.boxes[order], masks.areas[order]
    )


@pytest.mark.parametrize('inject', ['image', 'feature'])
def test_starts_at_zero_and_then_depends_on_masks(inject):
    image, masks = torch.rand(2, 3, 9, 11), [random_masks(3, 9, 11), ImageMasks.empty(9, 11)]
    start = unit(trained=False, inject=inject)
    channels = 3 if inject == 'image' else 5
    assert torch.equal(fuse(start, image, masks), torch.zeros(2, channels, 9, 11))
    trained = unit(inject=inject)
    others = [ImageMasks.empty(9, 11)] * 2
    with_masks, without = fuse(trained, image, masks), fuse(trained, image, others)
    assert not torch.allclose(with_masks[0], without[0])
    torch.testing.assert_close(with_masks[1], without[1])


def test_the_order_of_masks_does_not_matter():
    image, masks, spf = torch.rand(1, 3, 9, 11), random_masks(4, 9, 11), unit()
    shuffled = permuted(masks, torch.tensor([2, 0, 3, 1]))
    torch.testing.assert_close(fuse(spf, image, [masks]), fuse(spf, image, [shuffled]))


def test_one_image_does_not_see_the_masks_of_another():
    spf, image = unit(), torch.rand(2, 3, 9, 11)
    few, many = random_masks(2, 9, 11), random_masks(7, 9, 11)
    together = fuse(spf, image, [few, many])
    torch.testing.assert_close(together[:1], fuse(spf, image[:1], [few]))
    torch.testing.assert_close(together[1:], fuse(spf, image[1:], [many]))


def test_every_parameter_gets_a_gradient():
    spf = unit()
    fuse(spf, torch.rand(1, 3, 9, 11), [random_masks(3, 9, 11)]).square().sum().backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in spf.parameters())


def test_zero_layer_learns_in_the_first_step_without_masks_too():
    spf = unit(trained=False)
    fuse(spf, torch.rand(1, 3, 9, 11), [ImageMasks.empty(9, 11)]).sum().backward()
    assert spf.project.weight.grad.abs().sum() > 0


def test_large_regions_keep_their_precision_in_half_precision():
    """Sums over thousands of pixels are taken in float32: one pixel more or less counts."""
    spf, image = unit(), torch.rand(1, 3, 128, 128)
    masks = [ImageMasks.from_masks(torch.ones(1, 128, 128, dtype=torch.bool))]
    exact = fuse(spf, image, masks)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        half = fuse(spf, image, masks)
    assert half.dtype == torch.bfloat16
    torch.testing.assert_close(half.float(), exact, atol=0.02, rtol=0.05)


def test_borders_of_many_masks_are_found_in_half_precision():
    """Sets of masks are told apart by numbers of 24 bits."""
    spf, image = unit(), torch.rand(1, 3, 32, 40)
    columns = torch.arange(40).expand(32, -1)
    masks = [ImageMasks.from_masks(torch.stack([columns < 20] + [(columns - 20).abs() < 3] * 23))]
    exact = fuse(spf, image, masks)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        half = fuse(spf, image, masks)
    torch.testing.assert_close(half.float(), exact, atol=0.02, rtol=0.05)


@pytest.mark.parametrize(
    'wrong, message',
    [
        (dict(inject='gate'), 'spd.spf.inject'),
        (dict(channels=0), 'spd.spf.channels'),
        (dict(inject='feature', entry=None), 'spd.spf.entry'),
    ],
)
def test_wrong_settings_are_refused_by_name(wrong, message):
    with pytest.raises(ValueError, match=message):
        unit(**wrong)


@pytest.mark.parametrize('size', [(16, 16), (19, 21)])
@pytest.mark.parametrize('inject', ['image', 'feature'])
@pytest.mark.parametrize('name', NETWORKS)
def test_refined_is_the_refiner_of_the_restored_at_first_and_uses_masks_later(model_cfg, name, inject, size):
    if name == 'restormer' and size[0] % 8:
        size = (24, 16)  # mmagic's Restormer takes multiples of 8 only
    cfg = model_cfg(
        dict(spf=dict(type='SPFUnit', channels=4, inject=inject), losses=dict(sgr=None), feature_extractor=None),
        generator=NETWORKS[name],
    )
    model = build_part(MODELS, cfg).eval()
    assert model.spf.entry == ENTRIES[name]
    image, masks = torch.rand(1, 3, *size), [random_masks(3, *size)]
    with torch.no_grad():
        assert torch.equal(model.refine(image, Regions(masks, image)), model.refiner(image))
        torch.nn.init.normal_(model.spf.project.weight)
        refined = model.refine(image, Regions(masks, image))
        assert refined.shape == image.shape
        assert not torch.allclose(refined, model.refine(image, Regions([ImageMasks.empty(*size)], image)))
        # What is added to the feature map goes when the call is over.
        assert getattr(model.entry, 'features', None) is None


@MODELS.register_module(force=True)
class Padding(nn.Module):
    """Pads to multiples of 8 at the bottom and the right as NAFNet does, and looks at single pixels."""

    def __init__(self):
        super().__init__()
        self.intro, self.ending = nn.Conv2d(3, 5, 1), nn.Conv2d(5, 3, 1)

    def forward(self, image):
        height, width = image.shape[2:]
        padded = nn.functional.pad(image, (0, -width % 8, 0, -height % 8))
        return (padded + self.ending(self.intro(padded)))[..., :height, :width]


def test_features_meet_their_pixels_in_a_network_that_pads(model_cfg):
    cfg = model_cfg(
        dict(spf=dict(type='SPFUnit', channels=4), losses=dict(sgr=None), feature_extractor=None),
        generator=dict(type='Padding'),
    )
    model = build_part(MODELS, cfg).eval()
    torch.nn.init.normal_(model.spf.project.weight)
    image, masks = torch.rand(2, 3, 13, 18), [random_masks(3, 13, 18), random_masks(2, 13, 18)]
    expected = image + model.refiner.ending(model.refiner.intro(image) + fuse(model.spf, image, masks))
    torch.testing.assert_close(model.refine(image, Regions(masks, image)), expected)

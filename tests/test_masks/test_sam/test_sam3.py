"""SAM 3 against transformers' own class, on seeded weights of a small one.

In an environment without mmagic, which needs an older transformers: ``pytest --noconftest`` with this file alone.
"""

import json
from importlib.metadata import PackageNotFoundError, version

import pytest
import torch
from safetensors.torch import save_file
from torch.nn import functional as F

from mmsampriors.masks import MaskEngine, build_sam, checkpoint_id
from mmsampriors.masks.sam.decoders import Sam2Decoder
from mmsampriors.masks.sam.ops import point_grid, to_encoder

SIDE, POINTS = 64, 8


def installed(name):
    try:
        return int(version(name).split('.')[0])
    except PackageNotFoundError:
        return 0


needs_both = pytest.mark.skipif(
    installed('transformers') < 5 or not installed('sam2'),
    reason='needs transformers 5, which mmagic excludes, and sam2',
)


def small(kind, scales, **settings):
    """A tracker for images or for videos, with seeded weights."""
    import transformers

    backbone = dict(model_type='sam3_vit_model', hidden_size=32, intermediate_size=48, num_hidden_layers=2)
    backbone |= dict(num_attention_heads=2, image_size=SIDE, patch_size=8, window_size=4, global_attn_indexes=[1])
    vision = dict(model_type='sam3_vision_model', backbone_config=dict(backbone, pretrain_image_size=32))
    vision |= dict(backbone_feature_sizes=[[32, 32], [16, 16], [8, 8]], scale_factors=scales)
    prompts = dict(image_size=SIDE, patch_size=8)
    torch.manual_seed(0)
    config = getattr(transformers, f'{kind}Config')(vision_config=vision, prompt_encoder_config=prompts, **settings)
    model = getattr(transformers, f'{kind}Model')(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
        for mlp in model.mask_decoder.output_hypernetworks_mlps:
            mlp.proj_out.weight.mul_(20)
        embedding = model.shared_image_embedding.positional_embedding
        embedding.copy_(model.prompt_encoder.shared_embedding.positional_embedding)  # published as one tensor
    return model


@pytest.fixture(scope='module')
def theirs():
    return small('Sam3Tracker', [4.0, 2.0, 1.0])


@pytest.fixture(scope='module')
def folder(theirs, tmp_path_factory):
    folder = tmp_path_factory.mktemp('sam3')
    theirs.save_pretrained(folder)
    return folder


@needs_both
@torch.no_grad()
def test_same_masks_as_transformers(theirs, folder):
    sam = build_sam('sam3', str(folder))
    assert sam.automatic['pred_iou_thresh'] == 0.8
    every = dict(pred_iou_thresh=0.0, stability_score_thresh=0.0, box_nms_thresh=1.0)
    engine = MaskEngine(sam, points_per_side=POINTS, **every)
    assert isinstance(engine.decoder, Sam2Decoder), 'folded'
    images = [torch.rand(3, *size) for size in ((64, 64), (50, 91))]
    points = (point_grid(POINTS) * SIDE).float()[None, :, None]
    for image, found in zip(images, engine.generate(images)):
        expected = theirs(pixel_values=to_encoder([255 * image], sam, SIDE), input_points=points)
        masks = F.interpolate(expected.pred_masks[0], image.shape[1:], mode='bilinear', align_corners=False) > 0
        masks, scores = masks.flatten(0, 1).flatten(1), expected.iou_scores[0].flatten()
        scores, masks = scores[masks.any(1)], masks[masks.any(1)].float()
        assert len(found) == len(masks) > 2 * POINTS**2
        ours = found.bitmaps.flatten(1).float()
        inter = ours @ masks.T
        iou = inter / (ours.sum(1)[:, None] + masks.sum(1) - inter)
        same = (iou >= 0.9999) & ((found.scores[:, None] - scores).abs() < 1e-5)
        assert same.any(0).float().mean() >= 0.99 and same.any(1).float().mean() >= 0.99


@needs_both
@torch.no_grad()
def test_the_published_file_holds_detector_and_tracker(tmp_path):
    """Of the video model, whose encoder is the detector's and has a fourth level."""
    video = small('Sam3TrackerVideo', [4.0, 2.0, 1.0, 0.5], image_size=SIDE)
    places = {
        'vision_encoder.backbone': 'detector_model.vision_encoder.backbone',
        'vision_encoder.neck': 'tracker_neck',
    }
    state = {'detector_model.text_projection.weight': torch.zeros(2)}
    for name, value in video.state_dict().items():
        start = '.'.join(name.split('.')[:2])
        state[name.replace(start, places.get(start, f'tracker_model.{start}'), 1)] = value.contiguous()
    save_file(state, tmp_path / 'model.safetensors', metadata=dict(format='pt'))
    config = dict(model_type='sam3_video', tracker_config=video.config.to_dict())
    (tmp_path / 'config.json').write_text(json.dumps(config))
    image = torch.randn(1, 3, SIDE, SIDE)
    *finer, embedding = video.get_image_embeddings(image)
    ours = build_sam('sam3', str(tmp_path)).image_encoder.embed(image)
    for found, expected in zip((ours.image, *ours.finer), (embedding, *finer), strict=True):
        torch.testing.assert_close(found, expected)


@needs_both
def test_what_is_no_whole_model_is_refused(theirs, folder, tmp_path):
    assert checkpoint_id('sam3', str(folder)) == checkpoint_id('sam3', str(folder / 'model.safetensors'))
    state = theirs.state_dict()
    del state['mask_decoder.iou_token.weight']
    theirs.save_pretrained(tmp_path, state_dict=state)
    with pytest.raises(ValueError, match="no whole Sam3TrackerModel: 1 weights are .* 'mask_decoder.iou_token.weight'"):
        build_sam('sam3', str(tmp_path))
    (tmp_path / 'config.json').unlink()
    with pytest.raises(ValueError, match='cannot be read as a Sam3TrackerModel'):
        build_sam('sam3', str(tmp_path))


def test_without_weights_or_packages_it_says_what_to_do(tmp_path):
    with pytest.raises(ValueError, match='the SAM sam3 comes with no weights: give their file as checkpoint'):
        build_sam('sam3')
    (tmp_path / 'model.safetensors').write_bytes(b'')
    if installed('transformers') < 5:
        with pytest.raises(ImportError, match='sam3 needs transformers 5 or later, found 4.* make an environment with'):
            build_sam('sam3', str(tmp_path))

"""SPDModel with masks that segment-anything's real ``Sam`` makes in its forward pass."""

import pytest
import torch
from mmagic.structures import DataSample
from segment_anything import SamAutomaticMaskGenerator
from segment_anything.modeling import ImageEncoderViT, MaskDecoder, PromptEncoder, Sam, TwoWayTransformer

import mmsampriors.models  # noqa: F401
from mmsampriors.masks import ImageMasks
from mmsampriors.models import Phase
from mmsampriors.models.mask_sources import MaskSource
from mmsampriors.registry import MODELS, build_part


def random_sam(side=64, width=32):
    """Meta's architecture, small and untrained."""
    torch.manual_seed(5)
    encoder = ImageEncoderViT(
        img_size=side, patch_size=16, embed_dim=width, depth=1, num_heads=2, out_chans=width, use_rel_pos=True
    )
    prompts = PromptEncoder(
        embed_dim=width, image_embedding_size=(side // 16, side // 16), input_image_size=(side, side), mask_in_chans=4
    )
    transformer = TwoWayTransformer(depth=2, embedding_dim=width, mlp_dim=2 * width, num_heads=2)
    decoder = MaskDecoder(transformer_dim=width, transformer=transformer, num_multimask_outputs=3)
    return Sam(encoder, prompts, decoder).eval().requires_grad_(False)


@MODELS.register_module(force=True)
class StockSAMMasks(MaskSource):
    """segment-anything's own generator, with thresholds that an untrained network passes."""

    def __init__(self):
        self.sam, self.found = None, []

    def prepare(self):
        self.sam = self.sam or random_sam()

    def segment(self, images, paths=()):
        self.prepare()
        generator = SamAutomaticMaskGenerator(
            self.sam, points_per_side=6, pred_iou_thresh=-1e9, stability_score_thresh=0.0, box_nms_thresh=0.99
        )
        arrays = (images * 255).round().byte().permute(0, 2, 3, 1).cpu().numpy()
        for array in arrays:
            records = generator.generate(array)
            self.found.append(
                ImageMasks.from_masks(torch.stack([torch.from_numpy(one['segmentation']) for one in records]))
            )
        return self.found[-len(images) :]


@pytest.mark.parametrize('inject', ['feature', 'image'])
def test_masks_of_a_real_sam_reach_refiner_and_student(model_cfg, inject):
    cfg = model_cfg(dict(masks=dict(type='StockSAMMasks'), spf=dict(type='SPFUnit', channels=4, inject=inject)))
    model = build_part(MODELS, cfg)
    torch.nn.init.normal_(model.spf.project.weight, std=0.1)
    model.train().enter(Phase(student=True, refiner=True, ramp=1.0))
    gt = torch.rand(2, 3, 40, 48)
    samples = DataSample.stack(
        [DataSample(gt_img=image, metainfo=dict(img_output_channel_order='BGR')) for image in gt]
    )
    losses = model(gt + 0.1 * torch.randn_like(gt), samples, mode='loss')
    assert isinstance(model.mask_source.sam, Sam)
    assert len(model.mask_source.found) == 2 and min(map(len, model.mask_source.found)) >= 3

    (losses['sgr.loss_region'] + losses['sgr.loss_pixel']).backward(retain_graph=True)
    assert losses['sgr.loss_region'] > 0 and losses['sgr.loss_pixel'] > 0
    assert any(
        parameter.grad.abs().sum() > 0 for parameter in model.generator.parameters() if parameter.grad is not None
    )
    assert all(parameter.grad is None for parameter in [*model.refiner.parameters(), *model.spf.parameters()])
    losses['refiner.loss_recon'].backward()
    assert all(parameter.grad is not None for parameter in model.spf.parameters())
    assert not any(name.startswith('masks') or 'sam' in name for name in model.state_dict())
    assert all(parameter.grad is None for parameter in model.mask_source.sam.parameters())

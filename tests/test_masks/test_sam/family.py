"""Small SAMs of each family with seeded random weights, and the same ones as their own packages build them."""

from functools import partial
from importlib import import_module

import torch
from small_sam import CHANNELS, PATCH, SIDE, small_sam

from mmsampriors.masks.sam.encoder import EarlyImageEncoder
from mmsampriors.masks.sam.families import (
    TINY_VIT,
    Sam2Images,
    hq_tiny_encoder,
    mobile_encoder,
    sam2_model,
    sam_over,
    with_hq_decoder,
)

# 320 is what makes the last stage keep its stride
NARROW = dict(embed_dims=[8, 16, 24, 320], depths=[1, 1, 1, 1], num_heads=[1, 2, 3, 10])
SMALL_SAM2 = {
    'image_size': 128,
    'image_encoder.trunk.embed_dim': 16,
    'image_encoder.trunk.num_heads': 1,
    'image_encoder.trunk.stages': [1, 1, 2, 1],
    'image_encoder.trunk.global_att_blocks': [3],
    'image_encoder.trunk.window_spec': [8, 4, 8, 4],
    'image_encoder.neck.backbone_channel_list': [128, 64, 32, 16],
}


def varied(sam):
    """Biases and gains that are not zero or one, sharper attention and logits: masks that depend on the prompt."""
    with torch.no_grad():
        for parameter in sam.parameters():
            if parameter.ndim == 1:
                parameter.add_(0.1 * torch.randn_like(parameter))
        decoder = getattr(sam, 'mask_decoder', None) or sam.sam_mask_decoder
        for layer in decoder.transformer.layers:
            for attention in (layer.cross_attn_token_to_image, layer.cross_attn_image_to_token):
                torch.nn.init.orthogonal_(attention.q_proj.weight, gain=2)
                attention.k_proj.weight.copy_(attention.q_proj.weight)
        heads = [*decoder.output_hypernetworks_mlps, *([decoder.hf_mlp] if hasattr(decoder, 'hf_mlp') else [])]
        for mlp in heads:
            mlp.layers[-1].weight.mul_(60)
        decoder.iou_prediction_head.layers[-1].bias.add_(1)  # stock filters at positive thresholds only
        decoder.iou_prediction_head.layers[-1].weight.mul_(10)
    return sam.eval().requires_grad_(False)


def hq_vit():
    torch.manual_seed(0)
    sam = small_sam()
    sam.image_encoder.__class__ = EarlyImageEncoder
    sam = varied(with_hq_decoder(sam, 24))
    package, grid = import_module('segment_anything_hq.modeling'), (SIDE // PATCH, SIDE // PATCH)
    encoder = package.ImageEncoderViT(
        depth=2,
        embed_dim=24,
        img_size=SIDE,
        mlp_ratio=2,
        norm_layer=partial(torch.nn.LayerNorm, eps=1e-6),
        num_heads=2,
        patch_size=PATCH,
        use_rel_pos=True,
        global_attn_indexes=(1,),
        window_size=5,
        out_chans=CHANNELS,
    )
    prompts = package.PromptEncoder(
        embed_dim=CHANNELS, image_embedding_size=grid, input_image_size=(SIDE, SIDE), mask_in_chans=16
    )
    decoder = package.MaskDecoderHQ(
        transformer_dim=CHANNELS,
        transformer=package.TwoWayTransformer(depth=2, embedding_dim=CHANNELS, mlp_dim=64, num_heads=4),
        iou_head_hidden_dim=32,
        vit_dim=24,
    )
    return sam, same(package.Sam(encoder, prompts, decoder), sam), 'segment_anything_hq'


def hq_tiny():
    torch.manual_seed(0)
    sam = varied(with_hq_decoder(sam_over(hq_tiny_encoder(**NARROW)), 24))
    return sam, stock_over_tiny_vit('segment_anything_hq', sam, 'MaskDecoderHQ', vit_dim=24), 'segment_anything_hq'


def mobile():
    torch.manual_seed(0)
    sam = varied(sam_over(mobile_encoder(**NARROW)))
    return sam, stock_over_tiny_vit('mobile_sam', sam, 'MaskDecoder'), 'mobile_sam'


def sam2():
    torch.manual_seed(0)
    model = varied(sam2_model('t', **SMALL_SAM2))
    model.no_mem_embed.data.normal_()
    return Sam2Images(model).eval(), model, 'sam2'


def stock_over_tiny_vit(name, sam, decoder, **arguments):
    package = import_module(f'{name}.modeling')
    transformer = package.TwoWayTransformer(depth=2, embedding_dim=256, mlp_dim=2048, num_heads=8)
    prompts = package.PromptEncoder(
        embed_dim=256, image_embedding_size=(64, 64), input_image_size=(1024, 1024), mask_in_chans=16
    )
    decoder = getattr(package, decoder)(transformer_dim=256, transformer=transformer, **arguments)
    return same(package.Sam(package.TinyViT(**{**TINY_VIT, **NARROW}), prompts, decoder), sam)


def same(stock, sam):
    """``stock`` with the weights of ``sam``."""
    stock.load_state_dict(sam.state_dict())
    return stock.eval().requires_grad_(False)


def generator_of(package, stock, **settings):
    """The package's own generator of automatic masks."""
    if package != 'sam2':
        return import_module(package).SamAutomaticMaskGenerator(stock, **settings)
    generator = import_module('sam2.automatic_mask_generator').SAM2AutomaticMaskGenerator(stock, **settings)
    side = stock.image_size // 4
    generator.predictor._bb_feat_sizes = [
        (side, side),
        (side // 2, side // 2),
        (side // 4, side // 4),
    ]  # of 1024 pixels
    return generator

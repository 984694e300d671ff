"""A SAM of 64 pixels with seeded random weights, for tests of the mask engine."""

from functools import partial

import torch
from segment_anything.modeling import ImageEncoderViT, MaskDecoder, PromptEncoder, Sam, TwoWayTransformer

SIDE, PATCH, CHANNELS = 64, 8, 32


def small_sam(heads: int = 4, depth: int = 2) -> Sam:
    """8 x 8 image tokens of 32 channels; attention and logits sharpened, so that masks depend on the prompt."""
    torch.manual_seed(0)
    grid = (SIDE // PATCH, SIDE // PATCH)
    encoder = ImageEncoderViT(
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
    prompts = PromptEncoder(
        embed_dim=CHANNELS, image_embedding_size=grid, input_image_size=(SIDE, SIDE), mask_in_chans=16
    )
    transformer = TwoWayTransformer(depth=depth, embedding_dim=CHANNELS, mlp_dim=64, num_heads=heads)
    decoder = MaskDecoder(
        num_multimask_outputs=3,
        transformer=transformer,
        transformer_dim=CHANNELS,
        iou_head_depth=3,
        iou_head_hidden_dim=32,
    )
    with torch.no_grad():
        for parameter in (*encoder.parameters(), *decoder.parameters()):
            if parameter.ndim == 1:  # biases and gains that are zero or one hide mistakes
                parameter.add_(0.1 * torch.randn_like(parameter))
        for name, module in encoder.named_parameters():
            if 'rel_pos' in name or 'pos_embed' in name:
                module.normal_(std=0.3)
        for layer in transformer.layers:
            for attention in (layer.cross_attn_token_to_image, layer.cross_attn_image_to_token):
                torch.nn.init.orthogonal_(attention.q_proj.weight, gain=2)
                attention.k_proj.weight.copy_(attention.q_proj.weight)
        for mlp in decoder.output_hypernetworks_mlps:
            mlp.layers[-1].weight.mul_(60)
        decoder.iou_prediction_head.layers[-1].bias.add_(1)  # stock filters at positive thresholds only
    return Sam(encoder, prompts, decoder).eval().requires_grad_(False)

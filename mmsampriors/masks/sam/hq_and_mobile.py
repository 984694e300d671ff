"""SAMs that are segment_anything's but for a part: HQ-SAM and MobileSAM.

All parts that are the same are segment_anything's own modules, whose weights have the same names.
"""

from segment_anything import sam_model_registry
from segment_anything.modeling import MaskDecoder, PromptEncoder, Sam, TwoWayTransformer
from torch import nn

from ..optional_packages import import_extra
from .encoder import EarlyImageEncoder
from .tiny_vit import hq_tiny_encoder, mobile_encoder

CHANNELS = 256
EARLY_CHANNELS_OF_TINY_VIT = 160


def mobile_sam() -> Sam:
    """MobileSAM with random weights."""
    return over(mobile_encoder())


def hq_sam(size: str) -> Sam:
    """HQ-SAM with random weights; ``size`` is 'vit_b', 'vit_l', 'vit_h' or 'vit_tiny'."""
    if size == 'vit_tiny':
        return with_hq_decoder(over(hq_tiny_encoder()), EARLY_CHANNELS_OF_TINY_VIT)
    sam = sam_model_registry[size]()
    sam.image_encoder.__class__ = EarlyImageEncoder
    return with_hq_decoder(sam, sam.image_encoder.patch_embed.proj.out_channels)


def over(encoder: nn.Module, stride: int = 16) -> Sam:
    """A ``Sam`` of the usual prompt encoder and mask decoder over another image encoder.

    Args:
        encoder (nn.Module): Its ``img_size`` is the side of its input in pixels; it gives 256 channels.
        stride (int): Pixels a token.
    """
    side, grid = encoder.img_size, encoder.img_size // stride
    prompts = PromptEncoder(
        embed_dim=CHANNELS, image_embedding_size=(grid, grid), input_image_size=(side, side), mask_in_chans=16
    )
    decoder = MaskDecoder(
        transformer_dim=CHANNELS,
        transformer=TwoWayTransformer(depth=2, embedding_dim=CHANNELS, mlp_dim=2048, num_heads=8),
    )
    return Sam(encoder, prompts, decoder)


def with_hq_decoder(sam: Sam, early_channels: int) -> Sam:
    """The same SAM with HQ-SAM's mask decoder, which has segment_anything's transformer.

    Args:
        sam (Sam): Its image encoder gives early tokens beside the embeddings.
        early_channels (int): Their channels.
    """
    kind = import_extra('segment_anything_hq.modeling', 'hq', 'HQ-SAM').MaskDecoderHQ
    plain = sam.mask_decoder
    sam.mask_decoder = kind(
        transformer_dim=plain.transformer_dim,
        transformer=plain.transformer,
        num_multimask_outputs=plain.num_multimask_outputs,
        iou_head_depth=plain.iou_prediction_head.num_layers,
        iou_head_hidden_dim=plain.iou_prediction_head.layers[0].out_features,
        vit_dim=early_channels,
    )
    return sam

"""SAMs that differ from segment_anything's in a part: HQ-SAM, MobileSAM and SAM 2.

All parts that are the same are segment_anything's own modules, whose weights have the same names.
"""

import torch
from segment_anything import sam_model_registry
from segment_anything.modeling import MaskDecoder, PromptEncoder, Sam, TwoWayTransformer
from torch import Tensor, nn

from ..optional_packages import import_extra
from .encoder import EarlyImageEncoder, Embeddings

CHANNELS = 256
EARLY_CHANNELS_OF_TINY_VIT = 160


def mobile_sam() -> Sam:
    """MobileSAM with random weights."""
    return sam_over(mobile_encoder())


def hq_sam(size: str) -> Sam:
    """HQ-SAM with random weights; ``size`` is 'vit_b', 'vit_l', 'vit_h' or 'vit_tiny'."""
    if size == 'vit_tiny':
        return with_hq_decoder(sam_over(hq_tiny_encoder()), EARLY_CHANNELS_OF_TINY_VIT)
    sam = sam_model_registry[size]()
    sam.image_encoder.__class__ = EarlyImageEncoder
    return with_hq_decoder(sam, sam.image_encoder.patch_embed.proj.out_channels)


def sam_over(encoder: nn.Module, stride: int = 16) -> Sam:
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


#: That of 5M parameters, as both packages build it. Its forward knows 64 x 64 tokens only, so the size is fixed.
TINY_VIT = dict(
    img_size=1024,
    embed_dims=[64, 128, 160, 320],
    depths=[2, 2, 6, 2],
    num_heads=[2, 4, 5, 10],
    window_sizes=[7, 7, 14, 7],
    drop_path_rate=0.0,
    layer_lr_decay=0.8,
)


def mobile_encoder(**settings) -> nn.Module:
    """MobileSAM's encoder.

    Args:
        **settings: Those of ``TinyViT``, over :data:`TINY_VIT`.
    """
    kind = import_extra('mobile_sam.modeling', 'mobile', 'mobile_sam').TinyViT
    return kind(**{**TINY_VIT, **settings})


def hq_tiny_encoder(**settings) -> nn.Module:
    """The encoder of the small HQ-SAM, whose tokens after the second stage the mask decoder takes too.

    Args:
        **settings: Those of ``TinyViT``, over :data:`TINY_VIT`.
    """
    kind = import_extra('segment_anything_hq.modeling', 'hq', 'hq_vit_tiny').TinyViT

    class EarlyTinyViT(kind):
        """As the package's, but ``forward`` gives the image embeddings alone."""

        def embed(self, images: Tensor) -> Embeddings:
            embedding, early = super().forward(images)
            return Embeddings(embedding, (early[0].permute(0, 3, 1, 2),))

        def forward(self, images: Tensor) -> Tensor:
            return self.embed(images).image

    return EarlyTinyViT(**{**TINY_VIT, **settings})


#: Sizes as Meta names them, and its configs in the package.
SAM2_CONFIGS = {size: f'configs/sam2.1/sam2.1_hiera_{size}.yaml' for size in ('t', 's', 'b+', 'l')}


def sam2_model(size: str, **overrides) -> nn.Module:
    """``SAM2Base`` with random weights, from the config in the package.

    Args:
        size (str): A key of :data:`SAM2_CONFIGS`.
        **overrides: Entries of the config, by dotted name, over its own.
    """
    purpose = f'sam2.1_{size}'
    package = import_extra('sam2.modeling.sam2_base', 'sam2', purpose)
    omegaconf, hydra = (import_extra(name, 'sam2', purpose) for name in ('omegaconf', 'hydra.utils'))
    root = package.__file__.rsplit('modeling', 1)[0]
    config = omegaconf.OmegaConf.load(root + SAM2_CONFIGS[size])
    for name, value in overrides.items():
        omegaconf.OmegaConf.update(config.model, name, value)
    return hydra.instantiate(config.model, _recursive_=True)


class Sam2ImageEncoder(nn.Module):
    """SAM 2's image encoder, with what its image predictor does to the features before the mask decoder.

    Args:
        model (nn.Module): A ``SAM2Base``, whose parts are taken, not copied.
    """

    def __init__(self, model: nn.Module):
        super().__init__()
        self.img_size = model.image_size
        self.backbone = model.image_encoder
        self.no_mem_embed = model.no_mem_embed if model.directly_add_no_mem_embed else None
        fine = model.use_high_res_features_in_sam
        self.convs = nn.ModuleList([model.sam_mask_decoder.conv_s0, model.sam_mask_decoder.conv_s1] if fine else [])

    def embed(self, images: Tensor) -> Embeddings:
        """Args: (I, 3, img_size, img_size), normalised; the finer features are those of strides 4 and 8."""
        *finer, embedding = self.backbone(images)['backbone_fpn']
        if self.no_mem_embed is not None:
            embedding = embedding + self.no_mem_embed.view(-1, 1, 1)
        return Embeddings(embedding, tuple(conv(features) for conv, features in zip(self.convs, finer)))

    def forward(self, images: Tensor) -> Tensor:
        """(I, C, h, w), the image embeddings alone."""
        return self.embed(images).image


class Sam2Images(nn.Module):
    """SAM 2 for single images: image encoder, prompt encoder and mask decoder under the names of a ``Sam``.

    Args:
        model (nn.Module): A ``SAM2Base``. What serves videos only is let go.
    """

    stretches = True
    mask_threshold = 0.0
    image_format = 'RGB'
    #: Of the colours that the image encoder takes, from 0 to 1.
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

    def __init__(self, model: nn.Module):
        super().__init__()
        self.image_encoder = Sam2ImageEncoder(model)
        self.prompt_encoder, self.mask_decoder = model.sam_prompt_encoder, model.sam_mask_decoder
        self.keep_statistics()

    def keep_statistics(self) -> None:
        """Keeps mean and deviation as a ``Sam`` does: for colours from 0 to 255."""
        for name, values in (('pixel_mean', self.mean), ('pixel_std', self.std)):
            self.register_buffer(name, 255 * torch.tensor(values).view(3, 1, 1), persistent=False)

    @property
    def device(self) -> torch.device:
        return self.pixel_mean.device

"""MobileSAM's image encoder, which the small HQ-SAM shares: TinyViT, from either package."""

from torch import Tensor, nn

from ..optional_packages import import_extra
from .encoder import Embeddings

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

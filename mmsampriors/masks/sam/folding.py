"""The image side of SAM's mask decoder, computed once for all prompts of an image.

In the stock decoder each prompt has its own copy of the N image tokens, and every attention projects all of them.
Here they are never written down [ours]. The tokens X (N, C) of a prompt begin as the image's own, and each layer adds
an attention of H heads over T prompt tokens, a matrix of rank H * T, and normalises. So at any depth

    X = scale * (Z + S^T V B) + shift

with Z (N, C) and ``shift`` (C,) the same for all prompts, ``scale`` (N,) the product of the layer norms' factors, S
(R, N) the attention maps of the layers so far (R = T * H a layer) over the scale that they met, V (R, H * (c + 1)) the
token values that they spread, and B (H * (c + 1), C) their output projection through all norms since, the same for all
prompts and images. A linear map of X is a map of Z and of B, computed here, and products with R columns, computed in
``folded_decoder.py``.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

#: Their mask decoders are alike in all that is folded. Named and not imported: most are extras.
PACKAGES = ('segment_anything', 'mobile_sam', 'segment_anything_hq', 'sam2')


@dataclass
class ImageProjection:
    """A projection of the image tokens, c channels for each of H heads.

    Args:
        shared (Tensor): (I, H, c, N), the part that comes from Z; in the first layer the constant part is in it.
        constant (Tensor | None): (1, H, c, N), the part of position encoding, shift and bias; None where there is none.
        spread (list[Tensor]): (H, c, H * (c + 1)), the projection of B, one for each layer before.
    """

    shared: Tensor
    constant: Tensor
    spread: list


@dataclass
class ImageLayer:
    """What one decoder layer, or the final attention, needs of its images.

    Args:
        keys (ImageProjection): Keys of the attention from prompt tokens to the image.
        values (ImageProjection): Its values, without their constant part.
        value_shift (Tensor): (H, c), that constant part; attention weights sum to one.
        queries (ImageProjection): Queries of the attention from the image to the prompt tokens; None in the final
            attention, as is all that follows.
        cross (list[Tensor]): (I, H, c + 1, N), the products of Z and B, for each layer before and this one.
        grams (list[list[Tensor]]): (H, c + 1, H * (c + 1)), the products of B and B, for each such layer with each one
            before it and with itself.
        square (Tensor): (I, N), the squared length of the rows of Z.
    """

    keys: ImageProjection
    values: ImageProjection
    value_shift: Tensor
    queries: ImageProjection = None
    cross: list = None
    grams: list = None
    square: Tensor = None


@dataclass
class ImageState:
    """What all prompts on a batch of I images share.

    Args:
        layers (list[ImageLayer]): The decoder's layers and, last, its final attention.
        upscaled (Tensor): (I, N, C), Z through the first upscaling, its four sub-pixels side by side.
        upscaled_spread (list[Tensor]): (H, c + 1, C), B of each layer through it.
        upscale_shift (Tensor): (C,), the constant part of the first upscaling.
        grid (tuple): (h, w) of the image tokens, N = h * w.
        finer (tuple[Tensor]): (I, ...) each, what a family adds to the upscaled tokens.
    """

    layers: list
    upscaled: Tensor
    upscaled_spread: list
    upscale_shift: Tensor
    grid: tuple
    finer: tuple = ()

    @property
    def num_images(self) -> int:
        return len(self.upscaled)

    def of_image(self, index: int) -> 'ImageState':
        """What ``select`` and ``masks`` of ``FoldedDecoder`` need of one image: its final attention and upscaling."""
        last, one = self.layers[-1], slice(index, index + 1)
        last = replace(
            last,
            keys=replace(last.keys, shared=last.keys.shared[one]),
            values=replace(last.values, shared=last.values.shared[one]),
        )
        finer = tuple(part[one] for part in self.finer)
        return replace(self, layers=[last], upscaled=self.upscaled[one], finer=finer)


def is_foldable(decoder: nn.Module) -> bool:
    """Whether ``decoder`` is of a known package in every part that is folded; subclasses may compute otherwise."""
    transformer = getattr(decoder, 'transformer', None)
    if not is_from(decoder, 'MaskDecoder', 'MaskDecoderHQ') or not is_from(transformer, 'TwoWayTransformer'):
        return False
    attentions = [transformer.final_attn_token_to_image]
    for layer in transformer.layers:
        if not is_from(layer, 'TwoWayAttentionBlock'):
            return False
        attentions += [layer.cross_attn_token_to_image, layer.cross_attn_image_to_token]
    projections = [module for attention in attentions for module in attention.children()]
    upscaling = decoder.output_upscaling
    return (
        all(is_from(module, 'Attention') for module in attentions)
        and all(type(module) is nn.Linear for module in projections)
        and (len(upscaling) == 5 or is_smoothed(decoder))
        and [type(upscaling[0]), type(upscaling[3])] == [nn.ConvTranspose2d] * 2
        and is_from(upscaling[1], 'LayerNorm2d')
    )


def is_smoothed(decoder: nn.Module) -> bool:
    """Whether ``decoder`` averages the 16 pixels of a token and interpolates between tokens, as that of ``tiny.py``."""
    last = list(decoder.output_upscaling)[5:]
    if [type(module) for module in last] != [nn.AvgPool2d, nn.Upsample]:
        return False
    average, enlarge = last
    return (average.kernel_size, enlarge.scale_factor, enlarge.mode, enlarge.align_corners) == (4, 4, 'bilinear', None)


def is_from(module: nn.Module, *names: str) -> bool:
    """Whether the class of ``module`` has one of these names, and comes from one of :data:`PACKAGES`."""
    return type(module).__name__ in names and type(module).__module__.split('.')[0] in PACKAGES


def fold_images(decoder: nn.Module, embeddings: Tensor, position: Tensor, dtype: torch.dtype) -> ImageState:
    """Computes what all prompts share.

    Args:
        decoder (nn.Module): A decoder that :func:`is_foldable`.
        embeddings (Tensor): (I, C, h, w), image embeddings with the dense prompt embedding added.
        position (Tensor): (1, C, h, w), the position encoding of the grid.
        dtype (torch.dtype): Type of the result; the computation is in the type of ``embeddings``.
    """
    transformer, grid = decoder.transformer, tuple(embeddings.shape[-2:])
    z, position = _tokens(embeddings), _tokens(position)
    shift, bases, layers = z.new_zeros(z.shape[-1]), [], []
    for layer in transformer.layers:
        folded = _fold_gather(layer.cross_attn_token_to_image, z, position, shift, bases, dtype)
        attention = layer.cross_attn_image_to_token
        folded.queries = _project(attention.q_proj, z, position + shift, attention.num_heads, bases, dtype)
        bases = [_centred(basis) for basis in (*bases, _basis(attention, shift))]
        z = _centred(z)
        folded.cross = [(basis @ z.transpose(1, 2)[:, None]).to(dtype) for basis in bases]
        folded.grams = [[_times(basis, other) for other in bases[: i + 1]] for i, basis in enumerate(bases)]
        folded.square = z.square().sum(-1).to(dtype)
        bases = [basis * layer.norm4.weight for basis in bases]
        z, shift = z * layer.norm4.weight, layer.norm4.bias
        layers.append(folded)
    layers.append(_fold_gather(transformer.final_attn_token_to_image, z, position, shift, bases, dtype))
    first = decoder.output_upscaling[0]
    weight = first.weight.permute(0, 2, 3, 1).flatten(1)  # (C, 2 * 2 * C / 4), channels last
    bias = shift @ weight + first.bias.repeat(4)
    return ImageState(layers, (z @ weight).to(dtype), [basis @ weight for basis in bases], bias.to(dtype), grid)


def _fold_gather(attention: nn.Module, z, position, shift, bases: list, dtype) -> ImageLayer:
    """Keys and values of an attention from prompt tokens to the image; what adds the same to all keys cancels."""
    heads = attention.num_heads
    keys = _project(attention.k_proj, z, position, heads, bases, dtype)
    values = _project(attention.v_proj, z, None, heads, bases, dtype)
    value_shift = attention.v_proj(shift).view(heads, -1)
    return ImageLayer(keys, values, value_shift)


def _project(linear: nn.Linear, z: Tensor, constant: Tensor, heads: int, bases: list, dtype) -> ImageProjection:
    weight = linear.weight.unflatten(0, (heads, -1))  # (H, c, C)
    shared = weight @ z.transpose(1, 2)[:, None]
    if constant is not None:
        constant = weight @ constant.transpose(1, 2)[:, None] + linear.bias.view(heads, -1, 1)
        if not bases:
            shared, constant = shared + constant, None
    constant = None if constant is None else constant.to(dtype)
    return ImageProjection(shared.to(dtype), constant, [_times(weight, basis) for basis in bases])


def _basis(attention: nn.Module, shift: Tensor) -> Tensor:
    """Output projection a head; its bias and the shift are spread over the heads, whose weights sum to one each."""
    heads = attention.num_heads
    weight = attention.out_proj.weight.T.unflatten(0, (heads, -1))  # (H, c, C)
    rest = ((attention.out_proj.bias + shift) / heads).expand(heads, 1, -1)
    return torch.cat([weight, rest], 1)


def _times(a: Tensor, basis: Tensor) -> Tensor:
    """(H, n, C) and (H, c + 1, C) to (H, n, H * (c + 1)), the product over channels."""
    return a @ basis.flatten(0, 1).T


def _centred(x: Tensor) -> Tensor:
    return x - x.mean(-1, keepdim=True)


def _tokens(grid: Tensor) -> Tensor:
    """(I, C, h, w) to (I, h * w, C)."""
    return grid.flatten(2).transpose(1, 2)

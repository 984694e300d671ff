"""Mask decoders for many prompts on a batch of images: scores first, masks only where they are wanted."""
from dataclasses import dataclass, field

import torch
from segment_anything.modeling import Sam
from torch import Tensor
from torch.nn import functional as F

from .folding import ImageLayer, ImageProjection, ImageState, fold_images, is_foldable
from .plain_decoder import PlainDecoder


def build_decoder(sam: Sam, dtype: torch.dtype):
    """A :class:`FoldedDecoder` where the mask decoder is segment_anything's own, else a :class:`PlainDecoder`."""
    return (FoldedDecoder if is_foldable(sam.mask_decoder) else PlainDecoder)(sam, dtype)


@dataclass
class PromptState:
    """What is known of Q prompts, image-major, before any mask is upscaled; letters as in ``folding.py``.

    Args:
        queries (Tensor): (Q, T, C), the prompt tokens.
        position (Tensor): (Q, T, C), their own position encoding.
        scale (Tensor): (Q, N), of Z; None before the first layer.
        maps (list[Tensor]): (Q, T * H, N) a layer so far, together S.
        factors (list[Tensor]): (Q, T * H, C) a layer so far, together F.
    """

    queries: Tensor
    position: Tensor
    scale: Tensor = None
    maps: list = field(default_factory=list)
    factors: list = field(default_factory=list)

    def __getitem__(self, rows: Tensor) -> 'PromptState':
        maps, factors = [x[rows] for x in self.maps], [x[rows] for x in self.factors]
        return PromptState(self.queries[rows], self.position[rows], self.scale[rows], maps, factors)


class FoldedDecoder:
    """segment_anything's mask decoder, computed in the folded form of ``folding.py``.

    Equal to the stock decoder up to rounding. Prompt tokens are computed in the type of the weights, image tokens in
    ``dtype``. Weights are read at each call, so training them further is seen.

    Args:
        sam (Sam): Its ``mask_decoder`` must be foldable.
        dtype (torch.dtype): Type of all that has N columns.
    """

    def __init__(self, sam: Sam, dtype: torch.dtype) -> None:
        self.decoder, self.dtype = sam.mask_decoder, dtype

    def bytes_per_prompt(self, tokens: int) -> int:
        """Working memory of :meth:`decode`: the maps, their product with the Gram matrix, and copies of a layer."""
        transformer = self.decoder.transformer
        rows = transformer.num_heads * (self.decoder.num_mask_tokens + 3)
        return tokens * rows * (2 * transformer.depth + 3) * self.dtype.itemsize

    def bytes_per_upscaling(self, tokens: int) -> int:
        """Working memory of :meth:`masks` a prompt: the two upscalings with their activations."""
        return tokens * self.decoder.transformer_dim * 7 * self.dtype.itemsize

    def prepare(self, embeddings: Tensor, dense: Tensor, position: Tensor) -> ImageState:
        """Args: (I, C, h, w) image embeddings, (1, C, h, w) dense prompt embedding, (1, C, h, w) position encoding."""
        return fold_images(self.decoder, embeddings + dense, position, self.dtype)

    def decode(self, images: ImageState, sparse: Tensor) -> tuple:
        """Scores of all prompts, without upscaling a mask.

        Args:
            images (ImageState): Of I images.
            sparse (Tensor): (Q, P, C), prompt embeddings, image-major, Q a multiple of I.

        Returns:
            tuple[Tensor, PromptState]: Predicted IoU (Q, M) of the M multimask outputs, and what :meth:`masks` needs.
        """
        decoder, transformer = self.decoder, self.decoder.transformer
        outputs = torch.cat([decoder.iou_token.weight, decoder.mask_tokens.weight])
        tokens = torch.cat([outputs.expand(len(sparse), -1, -1), sparse], 1)
        prompts, values = PromptState(tokens, tokens), []
        for layer, image in zip(transformer.layers, images.layers):
            prompts.queries = _attend_themselves(layer, prompts)
            gathered = self._gather(layer.cross_attn_token_to_image, image, prompts, slice(None))
            prompts.queries = layer.norm2(prompts.queries + gathered)
            prompts.queries = layer.norm3(prompts.queries + layer.mlp(prompts.queries))
            values.append(_token_values(layer.cross_attn_image_to_token, prompts.queries))
            self._spread(layer, image, prompts, values)
        token = self._final(images, prompts, slice(0, 1))
        return decoder.iou_prediction_head(token[:, 0])[:, 1:], prompts

    def masks(self, image: ImageState, prompts: PromptState) -> Tensor:
        """Mask logits of prompts that are all on one image.

        Args:
            image (ImageState): The state of that image alone.
            prompts (PromptState): Q of the prompts that :meth:`decode` returned.

        Returns:
            Tensor: (Q, M, 4 h, 4 w), logits.
        """
        decoder, count = self.decoder, len(prompts.queries)
        tokens = self._final(image, prompts, slice(2, 1 + decoder.num_mask_tokens))
        weights = torch.stack([mlp(tokens[:, i]) for i, mlp in enumerate(decoder.output_hypernetworks_mlps[1:])], 1)
        _, norm, first_activation, second, second_activation = decoder.output_upscaling
        pixels = torch.addcmul(image.upscale_shift, prompts.scale[:, :, None], image.upscaled)
        for maps, factors in zip(prompts.maps, prompts.factors):
            pixels.baddbmm_(maps.transpose(1, 2), (factors @ image.upscale_weight).to(self.dtype))  # (Q, N, 4 * C / 4)
        pixels = pixels.unflatten(-1, (4, -1))
        pixels = F.layer_norm(pixels, pixels.shape[-1:], norm.weight.to(self.dtype), norm.bias.to(self.dtype), norm.eps)
        kernel = second.weight.permute(2, 3, 1, 0).flatten(0, 2).to(self.dtype)  # (2 * 2 * C / 8, C / 4)
        pixels = F.linear(first_activation(pixels), kernel, second.bias.repeat(4).to(self.dtype))
        pixels = second_activation(pixels).view(count, -1, second.out_channels)
        logits = weights.to(self.dtype) @ pixels.transpose(1, 2)
        height, width = image.grid  # sub-pixels of both upscalings are still side by side
        logits = logits.view(count, -1, height, width, 2, 2, 2, 2).permute(0, 1, 2, 4, 6, 3, 5, 7)
        return logits.reshape(count, -1, 4 * height, 4 * width)

    def _final(self, images: ImageState, prompts: PromptState, tokens: slice) -> Tensor:
        """(Q, t, C), some of the prompt tokens after the final attention."""
        transformer = self.decoder.transformer
        gathered = self._gather(transformer.final_attn_token_to_image, images.layers[-1], prompts, tokens)
        return transformer.norm_final_attn(prompts.queries[:, tokens] + gathered)

    def _gather(self, attention, image: ImageLayer, prompts: PromptState, tokens: slice) -> Tensor:
        """Attention from prompt tokens to the image: (Q, t, C)."""
        queries = _split(attention, attention.q_proj((prompts.queries + prompts.position)[:, tokens]))
        weights = self._weights(queries, image.keys, prompts, over=-1)
        scaled = weights if prompts.scale is None else weights * prompts.scale[:, None, None]
        out = _per_image(scaled, image.values.shared.transpose(2, 3)).to(queries.dtype)  # (Q, t, H, c)
        if prompts.maps:
            flat = weights.flatten(1, 2)
            gathered = sum((flat @ maps.transpose(1, 2)).to(factors.dtype) @ factors
                           for maps, factors in zip(prompts.maps, prompts.factors))  # (Q, t * H, C)
            _per_image(gathered.unflatten(1, queries.shape[1:3]), image.values.weight[None], add_to=out)
        return attention.out_proj((out + image.value_shift).flatten(2))

    def _spread(self, layer, image: ImageLayer, prompts: PromptState, values: list) -> None:
        """Attention from the image to prompt tokens, and the layer norm after it; extends ``prompts``."""
        attention = layer.cross_attn_image_to_token
        keys = _split(attention, attention.k_proj(prompts.queries + prompts.position))
        maps = [*prompts.maps, self._weights(keys, image.queries, prompts, over=1).flatten(1, 2)]
        factors = [*prompts.factors, _per_image(values[-1], image.basis[None]).flatten(1, 2)]
        factors = [factor.sub_(factor.mean(-1, keepdim=True)) for factor in factors]
        variance = self._variance(image, maps, factors, values, prompts.scale)
        shrink = (variance + layer.norm4.eps).rsqrt().to(self.dtype)
        prompts.maps = [one.mul_(shrink[:, None]) for one in maps]
        prompts.factors = [factor.mul_(layer.norm4.weight) for factor in factors]
        prompts.scale = shrink if prompts.scale is None else prompts.scale * shrink

    def _variance(self, image: ImageLayer, maps: list, factors: list, values: list, scale: Tensor) -> Tensor:
        """(Q, N), the variance over channels of the centred tokens scale * Z + S^T F."""
        channels, ratio = factors[0].shape[-1], len(maps[0]) // len(image.square)
        total = image.square.repeat_interleave(ratio, 0) / channels
        if scale is not None:
            total = total * scale * scale
        for i, (one, value, cross) in enumerate(zip(maps, values, image.cross)):
            moment = _per_image((value * (2 / channels)).to(self.dtype), cross).flatten(1, 2)
            if scale is not None:
                moment.mul_(scale[:, None])
            for j in range(i + 1):  # each pair of layers once
                gram = factors[i] @ factors[j].transpose(1, 2) * ((1 if i == j else 2) / channels)
                moment.baddbmm_(gram.to(self.dtype), maps[j])
            total = total + moment.mul_(one).sum(1, dtype=factors[0].dtype)
        return total.clamp_(min=0)

    def _weights(self, tokens: Tensor, image: ImageProjection, prompts: PromptState, over: int) -> Tensor:
        """(Q, t, H, N), attention of head-wise tokens (Q, t, H, c) and the image tokens, normalised ``over`` a side."""
        tokens = tokens * tokens.shape[-1]**-0.5
        narrow = tokens.to(self.dtype)
        logits = _per_image(narrow, image.shared)
        if prompts.maps:
            _per_image(narrow, image.constant, add_to=logits.mul_(prompts.scale[:, None, None]))
            flat = logits.flatten(1, 2)  # (Q, t * H, N)
            projected = _per_image(tokens, image.weight.transpose(1, 2)[None]).flatten(1, 2)  # (Q, t * H, C)
            for maps, factors in zip(prompts.maps, prompts.factors):
                flat.baddbmm_((projected @ factors.transpose(1, 2)).to(self.dtype), maps)
        return logits.softmax(over)


def _attend_themselves(layer, prompts: PromptState) -> Tensor:
    """Self-attention of the prompt tokens and the layer norm after it."""
    queries = prompts.queries
    if layer.skip_first_layer_pe:
        return layer.norm1(layer.self_attn(q=queries, k=queries, v=queries))
    placed = queries + prompts.position
    return layer.norm1(queries + layer.self_attn(q=placed, k=placed, v=queries))


def _token_values(attention, queries: Tensor) -> Tensor:
    """(Q, T, H, c + 1), the values of the prompt tokens and a 1 for the bias."""
    values = _split(attention, attention.v_proj(queries))
    return torch.cat([values, torch.ones_like(values[..., :1])], -1)


def _split(attention, x: Tensor) -> Tensor:
    """(Q, t, H * c) to (Q, t, H, c)."""
    return x.unflatten(-1, (attention.num_heads, -1))


def _per_image(tokens: Tensor, shared: Tensor, add_to: Tensor = None) -> Tensor:
    """Products of head-wise tokens with what their image shares, as one large product an image and head.

    With heads inside of tokens the rows of a head lie at equal distances, and a product reads and writes them where
    they are.

    Args:
        tokens (Tensor): (Q, t, H, c), image-major.
        shared (Tensor): (I, H, c, n); with I = 1 it is shared by all.
        add_to (Tensor, optional): (Q, t, H, n), contiguous, to which the products are added in place.

    Returns:
        Tensor: (Q, t, H, n), contiguous; ``add_to`` where given.
    """
    out = tokens.new_empty(*tokens.shape[:3], shared.shape[-1]) if add_to is None else add_to
    rows, products = (x.reshape(len(shared), -1, *x.shape[2:]).transpose(1, 2) for x in (tokens, out))
    for row, one, product in zip(rows, shared, products):
        product.baddbmm_(row, one, beta=0 if add_to is None else 1)  # (H, Q / I * t, n)
    return out

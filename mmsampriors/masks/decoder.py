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
        maps (list[Tensor]): (Q, H * T, N) a layer so far, together S.
        factors (list[Tensor]): (Q, H * T, C) a layer so far, together F.
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
        weights = self._logits(queries, image.keys, prompts).softmax(-1)  # (Q, H, t, N)
        out = self._weighted_values(weights, image.values, prompts.scale)
        if prompts.maps:
            flat = weights.flatten(1, 2)
            gathered = sum((flat @ maps.transpose(1, 2)).to(factors.dtype) @ factors
                           for maps, factors in zip(prompts.maps, prompts.factors))  # (Q, H * t, C)
            out = out + _by_head(gathered.view(*weights.shape[:3], -1), image.values.weight)
        out = out + image.value_shift
        return attention.out_proj(out.transpose(1, 2).flatten(2))

    def _spread(self, layer, image: ImageLayer, prompts: PromptState, values: list) -> None:
        """Attention from the image to prompt tokens, and the layer norm after it; extends ``prompts``."""
        attention = layer.cross_attn_image_to_token
        keys = _split(attention, attention.k_proj(prompts.queries + prompts.position))
        maps = [*prompts.maps, self._logits(keys, image.queries, prompts).softmax(2).flatten(1, 2)]
        factors = [*prompts.factors, _by_head(values[-1], image.basis).flatten(1, 2)]
        factors = [factor.sub_(factor.mean(-1, keepdim=True)) for factor in factors]
        variance = self._variance(image, maps, factors, values, prompts.scale)
        shrink = (variance + layer.norm4.eps).rsqrt().to(self.dtype)
        prompts.maps = [one.mul_(shrink[:, None]) for one in maps]
        prompts.factors = [factor.mul_(layer.norm4.weight) for factor in factors]
        prompts.scale = shrink if prompts.scale is None else prompts.scale * shrink

    def _variance(self, image: ImageLayer, maps: list, factors: list, values: list, scale: Tensor) -> Tensor:
        """(Q, N), the variance over channels of the centred tokens scale * Z + S^T F."""
        channels, ratio = factors[0].shape[-1], len(maps[0]) // len(image.square)
        square = image.square.repeat_interleave(ratio, 0) / channels
        scale = torch.ones_like(square) if scale is None else scale
        total = square * scale * scale
        for i, (one, value, cross) in enumerate(zip(maps, values, image.cross)):
            product = _per_image((value * (2 / channels)).to(self.dtype), cross)
            moment = product.contiguous().mul_(scale.view(*product.shape[:2], 1, 1, -1)).view(one.shape)
            for j in range(i + 1):  # each pair of layers once
                gram = factors[i] @ factors[j].transpose(1, 2) * ((1 if i == j else 2) / channels)
                moment.baddbmm_(gram.to(self.dtype), maps[j])
            total = total + moment.mul_(one).sum(1, dtype=factors[0].dtype)
        return total.clamp_(min=0)

    def _logits(self, tokens: Tensor, image: ImageProjection, prompts: PromptState) -> Tensor:
        """Products of head-wise tokens (Q, H, t, c) with a projection of the image tokens: (Q, H, t, N)."""
        tokens = tokens * tokens.shape[-1]**-0.5
        narrow = tokens.to(self.dtype)
        shared = _per_image(narrow, image.shared)
        if not prompts.maps:
            return shared.flatten(0, 1)
        scale = prompts.scale.view(*shared.shape[:2], 1, 1, -1)
        logits = shared.contiguous().mul_(scale)
        logits += _per_image(narrow, image.constant).view_as(shared)
        logits = logits.view(len(tokens), -1, shared.shape[-1])  # (Q, H * t, N)
        projected = _by_head(tokens, image.weight.transpose(1, 2)).flatten(1, 2)  # (Q, H * t, C)
        for maps, factors in zip(prompts.maps, prompts.factors):
            logits.baddbmm_((projected @ factors.transpose(1, 2)).to(self.dtype), maps)
        return logits.unflatten(1, tokens.shape[1:3])

    def _weighted_values(self, weights: Tensor, values: ImageProjection, scale: Tensor) -> Tensor:
        """(Q, H, t, c), the shared values gathered by weights (Q, H, t, N)."""
        num_images, heads = values.shared.shape[:2]
        by_image = weights.unflatten(0, (num_images, -1)).transpose(1, 2)  # (I, H, B, t, N)
        if scale is not None:
            scale = scale.view(num_images, 1, -1, 1, scale.shape[-1])
            by_image = by_image.contiguous() * scale
        out = by_image.flatten(2, 3).flatten(0, 1) @ values.shared.flatten(0, 1).transpose(1, 2)
        out = out.unflatten(1, (-1, weights.shape[2])).unflatten(0, (num_images, heads))  # (I, H, B, t, c)
        return out.transpose(1, 2).flatten(0, 1).to(values.weight.dtype)


def _attend_themselves(layer, prompts: PromptState) -> Tensor:
    """Self-attention of the prompt tokens and the layer norm after it."""
    queries = prompts.queries
    if layer.skip_first_layer_pe:
        return layer.norm1(layer.self_attn(q=queries, k=queries, v=queries))
    placed = queries + prompts.position
    return layer.norm1(queries + layer.self_attn(q=placed, k=placed, v=queries))


def _token_values(attention, queries: Tensor) -> Tensor:
    """(Q, H, T, c + 1), the values of the prompt tokens and a 1 for the bias."""
    values = _split(attention, attention.v_proj(queries))
    return torch.cat([values, torch.ones_like(values[..., :1])], -1)


def _split(attention, x: Tensor) -> Tensor:
    """(Q, t, H * c) to (Q, H, t, c)."""
    return x.unflatten(-1, (attention.num_heads, -1)).transpose(1, 2)


def _per_image(tokens: Tensor, shared: Tensor) -> Tensor:
    """Products of head-wise tokens with what their image shares, as one large product an image and head.

    Args:
        tokens (Tensor): (Q, H, t, c), image-major.
        shared (Tensor): (I, H, c, N); with I = 1 it is shared by all.

    Returns:
        Tensor: (I, Q / I, H, t, N), not contiguous.
    """
    num_images, heads = shared.shape[:2]
    tokens = tokens.unflatten(0, (num_images, -1)).transpose(1, 2)  # (I, H, B, t, c)
    rows = tokens.flatten(2, 3).flatten(0, 1)
    out = torch.bmm(rows, shared.flatten(0, 1))
    return out.view(*tokens.shape[:-1], -1).transpose(1, 2)


def _by_head(tokens: Tensor, weight: Tensor) -> Tensor:
    """Tokens (Q, H, t, c) times a matrix a head (H, c, d): (Q, H, t, d), contiguous."""
    return _per_image(tokens, weight[None])[0].contiguous()

"""SAM's mask decoder for many prompts on a batch of images: scores first, masks only where they are wanted."""

from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .encoder import Embeddings
from .folding import ImageLayer, ImageProjection, ImageState, fold_images


@dataclass
class PromptState:
    """What is known of Q prompts, image-major, before any mask is upscaled; letters as in ``folding.py``.

    Args:
        queries (Tensor): (Q, T, C), the prompt tokens.
        position (Tensor): (Q, T, C), their own position encoding.
        scale (Tensor): (Q, N); None before the first layer.
        maps (list[Tensor]): (Q, T * H, N) a layer so far, together S.
        values (list[Tensor]): (Q, T, H, c + 1) a layer so far, what is not zero in V: the values that each head
            spreads, and a 1 for its bias.
        blocks (list[Tensor]): (Q, H * (c + 1), T * H) a layer so far, V transposed.
        best (Tensor): (Q,), which mask of each prompt is wanted, where a family knows that before it upscales.
    """

    queries: Tensor
    position: Tensor
    scale: Tensor = None
    maps: list = field(default_factory=list)
    values: list = field(default_factory=list)
    blocks: list = field(default_factory=list)
    best: Tensor = None

    def __getitem__(self, rows: Tensor) -> 'PromptState':
        layers = [[x[rows] for x in parts] for parts in (self.maps, self.values, self.blocks)]
        best = None if self.best is None else self.best[rows]
        return PromptState(self.queries[rows], self.position[rows], self.scale[rows], *layers, best)


@dataclass
class MaskState:
    """What the masks of Q prompts on one image are made of, for the n image tokens of a corner of the grid.

    Args:
        upscaled (Tensor): (n, C), Z through the first upscaling.
        scale (Tensor): (Q, n), as in ``folding.py``.
        maps (list[Tensor]): (Q, T * H, n) a layer, together S.
        factors (list[Tensor]): (Q, T * H, C) a layer, together V B through the first upscaling.
        kernels (Tensor): (Q, M, C / 8), what the hypernetworks make of the mask tokens.
        grid (tuple): (h, w) of the corner, n = h * w.
        finer (tuple[Tensor]): What a family adds to the upscaled tokens, the same for all prompts.
    """

    upscaled: Tensor
    scale: Tensor
    maps: list
    factors: list
    kernels: Tensor
    grid: tuple
    finer: tuple = ()

    def __getitem__(self, part: slice) -> 'MaskState':
        maps, factors = [x[part] for x in self.maps], [x[part] for x in self.factors]
        return replace(self, scale=self.scale[part], maps=maps, factors=factors, kernels=self.kernels[part])


class FoldedDecoder:
    """segment_anything's mask decoder, computed in the folded form of ``folding.py``.

    Equal to the stock decoder up to rounding. Prompt tokens are computed in the type of the weights, image tokens in
    ``dtype``. Weights are read at each call, so training them further is seen.

    Args:
        sam (nn.Module): Its ``mask_decoder`` must be foldable.
        dtype (torch.dtype): Type of all that has N columns.
    """

    #: Place of the token that predicts IoU; those of the single mask and of the multimask outputs follow it.
    iou_place = 0
    #: Side in pixels that :meth:`masks` gives an image token, of the 4 that stock does; who takes it enlarges the rest.
    token_side = 4

    def __init__(self, sam: nn.Module, dtype: torch.dtype) -> None:
        self.decoder, self.dtype = sam.mask_decoder, dtype

    def output_tokens(self) -> Tensor:
        """(t, C), the tokens that precede those of the prompt."""
        return torch.cat([self.decoder.iou_token.weight, self.decoder.mask_tokens.weight])

    def bytes_per_prompt(self, tokens: int) -> int:
        """Working memory of :meth:`decode`: the maps, their product with the Gram matrix, and copies of a layer."""
        transformer = self.decoder.transformer
        rows = transformer.num_heads * (len(self.output_tokens()) + 2)
        return tokens * rows * (2 * transformer.depth + 3) * self.dtype.itemsize

    def bytes_per_upscaling(self, tokens: int) -> int:
        """Working memory of :meth:`masks` a prompt: the two upscalings with their activations, and its masks twice."""
        outputs = self.decoder.num_multimask_outputs
        return tokens * (self.decoder.transformer_dim * 7 + 16 * 2 * outputs) * self.dtype.itemsize

    def prepare(self, embeddings: Embeddings, dense: Tensor, position: Tensor) -> ImageState:
        """Args: those of I images, (1, C, h, w) dense prompt embedding, (1, C, h, w) position encoding."""
        return fold_images(self.decoder, embeddings.image + dense, position, self.dtype)

    def decode(self, images: ImageState, sparse: Tensor) -> tuple:
        """Scores of all prompts, without upscaling a mask.

        Args:
            images (ImageState): Of I images.
            sparse (Tensor): (Q, P, C), prompt embeddings, image-major, Q a multiple of I.

        Returns:
            tuple[Tensor, PromptState]: Predicted IoU (Q, M) of the M multimask outputs, and what :meth:`select` needs.
        """
        transformer = self.decoder.transformer
        tokens = torch.cat([self.output_tokens().expand(len(sparse), -1, -1), sparse], 1)
        prompts = PromptState(tokens, tokens)
        for layer, image in zip(transformer.layers, images.layers):
            prompts.queries = _attend_themselves(layer, prompts)
            gathered = self._gather(layer.cross_attn_token_to_image, image, prompts, slice(None))
            prompts.queries = layer.norm2(prompts.queries + gathered)
            prompts.queries = layer.norm3(prompts.queries + layer.mlp(prompts.queries))
            self._spread(layer, image, prompts)
        token = self._final(images, prompts, slice(self.iou_place, self.iou_place + 1))
        outputs = slice(1, 1 + self.decoder.num_multimask_outputs)
        return self.decoder.iou_prediction_head(token[:, 0])[:, outputs], prompts

    def select(self, image: ImageState, prompts: PromptState, rows: Tensor, corner: tuple) -> MaskState:
        """What :meth:`masks` needs of some prompts, all on one image.

        Args:
            image (ImageState): The state of that image alone.
            prompts (PromptState): What :meth:`decode` returned.
            rows (Tensor): (Q,), which prompts.
            corner (tuple): (h, w), at most the grid's, of the upper left image tokens that masks are wanted of; the
                others are padding.
        """
        prompts = prompts[rows]
        kernels = self._kernels(image, prompts)
        factors = [
            _per_image(values, spread[None]).flatten(1, 2).to(self.dtype)
            for values, spread in zip(prompts.values, image.upscaled_spread)
        ]
        maps = [cropped(one, 2, image.grid, corner) for one in prompts.maps]
        upscaled, scale = (
            cropped(image.upscaled[0], 0, image.grid, corner),
            cropped(prompts.scale, 1, image.grid, corner),
        )
        return MaskState(upscaled, scale, maps, factors, kernels.to(self.dtype), corner)

    def masks(self, image: ImageState, state: MaskState, which: Tensor) -> Tensor:
        """Mask logits.

        Args:
            image (ImageState): The state of the one image.
            state (MaskState): Of Q prompts.
            which (Tensor): (K,), int64: the masks that are wanted, of the M of each prompt, counted prompt by prompt.

        Returns:
            Tensor: (K, s h, s w), their logits for the corner (h, w), with s the ``token_side``.
        """
        logits = (state.kernels @ self._pixels(image, state).transpose(1, 2)).flatten(0, 1)[which]
        return to_grid(logits, state.grid)

    def _kernels(self, image: ImageState, prompts: PromptState) -> Tensor:
        """(Q, M, C / 8), what the hypernetworks make of the tokens of the multimask outputs."""
        first = self.iou_place + 2
        tokens = self._final(image, prompts, slice(first, first + self.decoder.num_multimask_outputs))
        mlps = self.decoder.output_hypernetworks_mlps[1:]
        return torch.stack([mlp(tokens[:, i]) for i, mlp in enumerate(mlps)], 1)

    def _pixels(self, image: ImageState, state: MaskState) -> Tensor:
        """(Q, 16 n, C / 8), the tokens through both upscalings; the 16 pixels of a token are side by side."""
        _, norm, first_activation, second, second_activation = self.decoder.output_upscaling[:5]
        pixels = state.upscaled.repeat(len(state.scale), 1, 1)
        for maps, factors in zip(state.maps, state.factors):
            pixels.baddbmm_(maps.transpose(1, 2), factors)  # (Q, n, 4 * C / 4)
        shift = image.upscale_shift + state.finer[0] if state.finer else image.upscale_shift
        pixels = torch.addcmul(shift, state.scale[:, :, None], pixels, out=pixels).unflatten(-1, (4, -1))
        pixels = F.layer_norm(pixels, pixels.shape[-1:], norm.weight.to(self.dtype), norm.bias.to(self.dtype), norm.eps)
        weight = second.weight.permute(2, 3, 1, 0).flatten(0, 2).to(self.dtype)  # (2 * 2 * C / 8, C / 4)
        pixels = F.linear(_activated(first_activation, pixels), weight, second.bias.repeat(4).to(self.dtype))
        if state.finer:
            pixels += state.finer[1]
        return _activated(second_activation, pixels).view(len(state.scale), -1, second.out_channels)

    def _final(self, images: ImageState, prompts: PromptState, tokens: slice) -> Tensor:
        """(Q, t, C), some of the prompt tokens after the final attention."""
        transformer = self.decoder.transformer
        gathered = self._gather(transformer.final_attn_token_to_image, images.layers[-1], prompts, tokens)
        return transformer.norm_final_attn(prompts.queries[:, tokens] + gathered)

    def _gather(self, attention, image: ImageLayer, prompts: PromptState, tokens: slice) -> Tensor:
        """Attention from prompt tokens to the image: (Q, t, C)."""
        queries = _split(attention, attention.q_proj((prompts.queries + prompts.position)[:, tokens]))
        weights = self._weights(queries, image.keys, prompts, over=-1)
        if prompts.scale is not None:
            weights.mul_(prompts.scale[:, None, None])
        out = _per_image(weights, image.values.shared.transpose(2, 3)).to(queries.dtype)  # (Q, t, H, c)
        for maps, blocks, spread in zip(prompts.maps, prompts.blocks, image.values.spread):
            met = (weights.flatten(1, 2) @ maps.transpose(1, 2)).to(blocks.dtype) @ blocks.transpose(1, 2)
            _per_image(met.unflatten(1, queries.shape[1:3]), spread.transpose(1, 2)[None], add_to=out)
        return attention.out_proj((out + image.value_shift).flatten(2))

    def _spread(self, layer, image: ImageLayer, prompts: PromptState) -> None:
        """Attention from the image to prompt tokens, and the layer norm after it; extends ``prompts``."""
        attention = layer.cross_attn_image_to_token
        keys = _split(attention, attention.k_proj(prompts.queries + prompts.position))
        maps = self._weights(keys, image.queries, prompts, over=1).flatten(1, 2)
        prompts.maps = [*prompts.maps, maps if prompts.scale is None else maps.div_(prompts.scale[:, None])]
        values = _split(attention, attention.v_proj(prompts.queries))
        prompts.values = [*prompts.values, torch.cat([values, torch.ones_like(values[..., :1])], -1)]
        prompts.blocks = [*prompts.blocks, _blocks(prompts.values[-1])]
        variance = self._variance(image, prompts)
        if prompts.scale is None:
            prompts.scale = (variance + layer.norm4.eps).rsqrt().to(self.dtype)
        else:
            shrink = (variance * prompts.scale * prompts.scale + layer.norm4.eps).rsqrt()
            prompts.scale = prompts.scale * shrink.to(self.dtype)

    def _variance(self, image: ImageLayer, prompts: PromptState) -> Tensor:
        """(Q, N), the variance over channels of the tokens Z + S^T V B."""
        channels = self.decoder.transformer_dim  # divided by at once, for half precision's range
        total = image.square.repeat_interleave(len(prompts.queries) // len(image.square), 0) / channels
        for maps, values, cross, grams in zip(prompts.maps, prompts.values, image.cross, image.grams):
            values = values / channels
            moment = _per_image((2 * values).to(self.dtype), cross).flatten(1, 2)
            for one, blocks, gram in zip(prompts.maps, prompts.blocks, grams):  # each pair of layers once
                product = _per_image(values if one is maps else 2 * values, gram[None]).flatten(1, 2) @ blocks
                moment.baddbmm_(product.to(self.dtype), one)
            total = total + moment.mul_(maps).sum(1, dtype=values.dtype)
        return total.clamp_(min=0)

    def _weights(self, tokens: Tensor, image: ImageProjection, prompts: PromptState, over: int) -> Tensor:
        """(Q, t, H, N), attention of head-wise tokens (Q, t, H, c) and the image tokens, normalised ``over`` a side."""
        tokens = tokens * tokens.shape[-1] ** -0.5
        narrow = tokens.to(self.dtype)
        logits = _per_image(narrow, image.shared)
        for maps, blocks, spread in zip(prompts.maps, prompts.blocks, image.spread):
            product = _per_image(tokens, spread[None]).flatten(1, 2) @ blocks  # (Q, t * H, T * H)
            logits.flatten(1, 2).baddbmm_(product.to(self.dtype), maps)
        if image.constant is not None:
            _per_image(narrow, image.constant, add_to=logits.mul_(prompts.scale[:, None, None]))
        return logits.softmax(over)


def cropped(tokens: Tensor, dim: int, grid: tuple, corner: tuple) -> Tensor:
    """The tokens of the upper left ``corner`` of a ``grid``, both (h, w), that lies flat in dimension ``dim``."""
    tokens = tokens.unflatten(dim, grid)
    return tokens.narrow(dim, 0, corner[0]).narrow(dim + 1, 0, corner[1]).flatten(dim, dim + 1)


def to_grid(pixels: Tensor, grid: tuple) -> Tensor:
    """(K, 16 n, ...), the 16 pixels of each of n = h * w tokens side by side, to (K, 4 h, 4 w, ...)."""
    height, width = grid
    rest = pixels.shape[2:]
    pixels = pixels.reshape(-1, height, width, 2, 2, 2, 2, *rest)
    return pixels.transpose(2, 3).transpose(3, 5).transpose(4, 5).reshape(-1, 4 * height, 4 * width, *rest)


def _activated(activation: nn.Module, x: Tensor) -> Tensor:
    """``activation(x)``, where nobody else holds ``x``: GELU in place, for new memory costs as much time on CPU."""
    if type(activation) is nn.GELU:
        return torch.ops.aten.gelu_(x, approximate=activation.approximate)
    return activation(x)


def _blocks(values: Tensor) -> Tensor:
    """(Q, T, H, c) to (Q, H * c, T * H): each head's values in its own rows and columns, zeros elsewhere."""
    count, tokens, heads, channels = values.shape
    blocks = values.new_zeros(count, heads, channels, tokens, heads)
    blocks.diagonal(dim1=1, dim2=4).copy_(values.permute(0, 3, 1, 2))
    return blocks.view(count, heads * channels, tokens * heads)


def _attend_themselves(layer, prompts: PromptState) -> Tensor:
    """Self-attention of the prompt tokens and the layer norm after it."""
    queries = prompts.queries
    if layer.skip_first_layer_pe:
        return layer.norm1(layer.self_attn(q=queries, k=queries, v=queries))
    placed = queries + prompts.position
    return layer.norm1(queries + layer.self_attn(q=placed, k=placed, v=queries))


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
    # On CPU, many rows at large distances can take three times as long as a few at once [measured].
    far = out.device.type == 'cpu' and out.stride(1) * out.itemsize >= 2**16
    few = 24 if far else max(1, rows.shape[2])
    for row, one, product in zip(rows, shared, products):
        for some, result in zip(row.split(few, 1), product.split(few, 1)):
            result.baddbmm_(some, one, beta=0 if add_to is None else 1)  # (H, Q / I * t, n)
    return out

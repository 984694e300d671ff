"""The mask decoders of the SAM family, and the choice of the fastest one for a SAM.

HQ-SAM's gives one mask a prompt, corrected by a token of its own on fused image features: of the three masks the one of
highest predicted IoU is taken, and the mask of the HQ token added to it. That one is made of two 3 x 3 convolutions
over the upscaled tokens of each prompt. The second ends in a product with the token's kernel, so both are one product
here [ours]: nine maps a prompt, shifted and added. The first is left, and costs the most, so it is computed only where
the predicted IoU passes.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .encoder import Embeddings
from .folded_decoder import FoldedDecoder, MaskState, PromptState, cropped, to_grid
from .folding import ImageState, is_foldable, is_from, is_smoothed
from .ops import autocast_to


@dataclass
class PlainState:
    """Embeddings (I, C, h, w), dense prompt embedding and position encoding (1, C, h, w)."""

    embeddings: Tensor
    dense: Tensor
    position: Tensor

    @property
    def num_images(self) -> int:
        return len(self.embeddings)

    @property
    def grid(self) -> tuple:
        """(h, w) of the image tokens."""
        return tuple(self.embeddings.shape[-2:])

    def of_image(self, index: int) -> 'PlainState':
        """The state of one image."""
        return PlainState(self.embeddings[index : index + 1], self.dense, self.position)


class PlainDecoder:
    """Any other mask decoder, through its own ``forward`` with ``multimask_output=True``, one image at a time.

    Args:
        sam (nn.Module): Its ``mask_decoder`` takes the arguments of segment_anything's.
        dtype (torch.dtype): Type that it is computed in, by autocast.
    """

    def __init__(self, sam: nn.Module, dtype: torch.dtype) -> None:
        self.decoder, self.dtype = sam.mask_decoder, dtype

    #: As in ``FoldedDecoder``.
    token_side = 4

    def bytes_per_prompt(self, tokens: int) -> int:
        """As in ``FoldedDecoder``, for the stock layers: 256 channels, a dozen copies, and the upscaling."""
        return tokens * 256 * 18 * 4

    def bytes_per_upscaling(self, tokens: int) -> int:
        """Masks are already there: one copy of three."""
        return tokens * 16 * 3 * self.dtype.itemsize

    def prepare(self, embeddings: Embeddings, dense: Tensor, position: Tensor) -> PlainState:
        """As in ``FoldedDecoder``.

        Raises:
            ValueError: The encoder is of a family whose decoder takes more than segment_anything's.
        """
        if embeddings.finer:
            raise ValueError(
                f'{type(self.decoder).__name__} is not the mask decoder of its package as it is, and a changed one is '
                "run only where it takes what segment_anything's takes: restore the package's own modules"
            )
        return PlainState(embeddings.image, dense, position)

    def decode(self, images: PlainState, sparse: Tensor) -> tuple:
        """As in ``FoldedDecoder``; the second result is the masks themselves."""
        found = []
        with autocast_to(self.dtype, sparse.device):
            for embedding, prompts in zip(images.embeddings, sparse.chunk(images.num_images)):
                found.append(
                    self.decoder(
                        image_embeddings=embedding[None],
                        image_pe=images.position,
                        sparse_prompt_embeddings=prompts,
                        dense_prompt_embeddings=images.dense.expand(len(prompts), -1, -1, -1),
                        multimask_output=True,
                    )
                )
        logits, scores = (torch.cat(parts) for parts in zip(*found))
        return scores.to(sparse.dtype), logits

    def select(self, image: PlainState, prompts: Tensor, rows: Tensor, corner: tuple) -> Tensor:
        """As in ``FoldedDecoder``."""
        return prompts[rows, :, : 4 * corner[0], : 4 * corner[1]]

    def masks(self, image: PlainState, state: Tensor, which: Tensor) -> Tensor:
        """As in ``FoldedDecoder``."""
        return state.flatten(0, 1)[which]


class HQDecoder(FoldedDecoder):
    """As ``FoldedDecoder``, for ``segment_anything_hq.modeling.MaskDecoderHQ`` with ``hq_token_only=False``; M is 1."""

    def output_tokens(self) -> Tensor:
        return torch.cat([super().output_tokens(), self.decoder.hf_token.weight])

    def bytes_per_upscaling(self, tokens: int) -> int:
        """As in ``FoldedDecoder``, and the features of the convolutions."""
        convolved = 16 * (self.decoder.transformer_dim + 2 * 9)
        return super().bytes_per_upscaling(tokens) + tokens * convolved * self.dtype.itemsize

    def prepare(self, embeddings: Embeddings, dense: Tensor, position: Tensor) -> ImageState:
        """As in ``FoldedDecoder``; ``embeddings.finer`` is (I, c, h, w), early tokens of the image encoder."""
        state, (early,) = super().prepare(embeddings, dense, position), embeddings.finer
        features = self.decoder.embedding_encoder(embeddings.image) + self.decoder.compress_vit_feat(early)
        return replace(state, finer=(features.to(self.dtype),))

    def decode(self, images: ImageState, sparse: Tensor) -> tuple:
        """As in ``FoldedDecoder``: predicted IoU (Q, 1) of the best of the multimask outputs."""
        scores, prompts = super().decode(images, sparse)
        scores, prompts.best = scores.max(1, keepdim=True)
        return scores, prompts

    def select(self, image: ImageState, prompts: PromptState, rows: Tensor, corner: tuple) -> MaskState:
        """As in ``FoldedDecoder``, with one more row and column of tokens, into which the convolutions reach."""
        return super().select(image, prompts, rows, tuple(min(n + 1, all_) for n, all_ in zip(corner, image.grid)))

    def masks(self, image: ImageState, state: MaskState, which: Tensor) -> Tensor:
        """As in ``FoldedDecoder``; the last two rows and columns are wrong where the corner ends inside the grid."""
        state = state if len(which) == len(state.kernels) else state[which]
        kernels, kernels_hq = state.kernels.unbind(1)
        pixels = to_grid(self._pixels(image, state), state.grid)  # (Q, 4 h, 4 w, C / 8)
        logits = (pixels.flatten(1, 2) @ kernels[:, :, None]).view(pixels.shape[:3])
        features = image.finer[0][0, :, : pixels.shape[1], : pixels.shape[2]]
        logits += (kernels_hq @ features.flatten(1)).view_as(logits)
        return logits + self._convolved(pixels, kernels_hq)

    def _kernels(self, image: ImageState, prompts: PromptState) -> Tensor:
        """(Q, 2, C / 8): of the best mask's token, and of the HQ token."""
        of_masks = super()._kernels(image, prompts)
        place = self.iou_place + 2 + self.decoder.num_multimask_outputs
        token = self._final(image, prompts, slice(place, place + 1))
        best = of_masks.gather(1, prompts.best[:, :, None].expand(-1, -1, of_masks.shape[2]))
        return torch.cat([best, self.decoder.hf_mlp(token)], 1)

    def _convolved(self, pixels: Tensor, kernels: Tensor) -> Tensor:
        """``embedding_maskfeature`` of pixels (Q, H, W, C / 8), times kernels (Q, C / 8): (Q, H, W)."""
        first, norm, activation, second = self.decoder.embedding_maskfeature
        weights = [parameter.to(self.dtype) for parameter in (first.weight, first.bias, norm.weight, norm.bias)]
        x = F.conv2d(pixels.permute(0, 3, 1, 2), *weights[:2], padding=1).permute(0, 2, 3, 1)
        x = activation(F.layer_norm(x.contiguous(), x.shape[-1:], *weights[2:], norm.eps))
        weight = torch.einsum('qo,oikl->qikl', kernels, second.weight.to(self.dtype)).flatten(2)  # (Q, C / 4, 9)
        maps = (weight.transpose(1, 2) @ x.flatten(1, 2).transpose(1, 2)).unflatten(2, x.shape[1:3])
        maps = F.pad(maps, (1, 1, 1, 1)).unflatten(1, (3, 3))  # (Q, 3, 3, H + 2, W + 2)
        height, width = pixels.shape[1:3]
        out = (kernels @ second.bias.to(self.dtype))[:, None, None].repeat(1, height, width)
        for row in range(3):
            for column in range(3):
                out += maps[:, row, column, row : row + height, column : column + width]
        return out


class Sam2Decoder(FoldedDecoder):
    """As ``FoldedDecoder``, for ``sam2.modeling.sam.mask_decoder.MaskDecoder``."""

    @property
    def iou_place(self) -> int:
        return int(self.decoder.pred_obj_scores)

    def output_tokens(self) -> Tensor:
        tokens = super().output_tokens()
        if self.decoder.pred_obj_scores:
            tokens = torch.cat([self.decoder.obj_score_token.weight, tokens])
        return tokens

    def prepare(self, embeddings: Embeddings, dense: Tensor, position: Tensor) -> ImageState:
        """As in ``FoldedDecoder``; ``embeddings.finer`` are (I, C / 8, 4 h, 4 w) and (I, C / 4, 2 h, 2 w)."""
        state = super().prepare(embeddings, dense, position)
        if not embeddings.finer:
            return state
        fine, coarse = (_by_token(finer, state.grid).to(self.dtype) for finer in embeddings.finer)
        return replace(state, finer=(coarse, fine.unflatten(2, (4, -1))))

    def select(self, image: ImageState, prompts: PromptState, rows: Tensor, corner: tuple) -> MaskState:
        """As in ``FoldedDecoder``."""
        finer = tuple(cropped(part[0], 0, image.grid, corner) for part in image.finer)
        return replace(super().select(image, prompts, rows, corner), finer=finer)


def _by_token(features: Tensor, grid: tuple) -> Tensor:
    """(I, c, s h, s w), s = 2 or 4, to (I, h * w, s * s * c): the pixels of a token as two upscalings leave them."""
    scale = features.shape[2] // grid[0]
    doublings = [2] * (scale.bit_length() - 1)
    x = features.unflatten(3, (grid[1], *doublings)).unflatten(2, (grid[0], *doublings))  # I, c, h, 2.., w, 2..
    count = len(doublings)
    rows, columns = range(3, 3 + count), range(4 + count, 4 + 2 * count)
    pairs = [axis for pair in zip(rows, columns) for axis in pair]
    return x.permute(0, 2, 3 + count, *pairs, 1).flatten(3).flatten(1, 2)


class SmoothedDecoder(FoldedDecoder):
    """As ``FoldedDecoder``, for a decoder that averages the 16 pixels of a token and enlarges the result bilinearly.

    Both are linear, and so is the product with the kernels. So it comes between them: sixteen times fewer products.
    The enlarging is left to whoever resizes the masks, which is linear too.
    """

    token_side = 1

    def masks(self, image: ImageState, state: MaskState, which: Tensor) -> Tensor:
        """As in ``FoldedDecoder``: (K, h, w)."""
        tokens = self._pixels(image, state).unflatten(1, (-1, 16)).mean(2)
        logits = (state.kernels @ tokens.transpose(1, 2)).flatten(0, 1)[which]
        return logits.unflatten(1, state.grid)


def build_decoder(sam: nn.Module, dtype: torch.dtype):
    """The folded decoder of the family of ``sam.mask_decoder``, or a :class:`PlainDecoder` where it is of none."""
    decoder = sam.mask_decoder
    if not is_foldable(decoder):
        return PlainDecoder(sam, dtype)
    if is_from(decoder, 'MaskDecoderHQ'):
        return HQDecoder(sam, dtype)
    if type(decoder).__module__.startswith('sam2.'):
        return Sam2Decoder(sam, dtype)
    return SmoothedDecoder(sam, dtype) if is_smoothed(decoder) else FoldedDecoder(sam, dtype)

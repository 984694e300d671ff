"""HQ-SAM's mask decoder: one mask a prompt, corrected by a token of its own on fused image features.

Of the three masks the one of highest predicted IoU is taken, and the mask of the HQ token added to it. That one is made
of two 3 x 3 convolutions over the upscaled tokens of each prompt. The second ends in a product with the token's kernel,
so both are one product here [ours]: nine maps a prompt, shifted and added. The first is left, and costs the most, so it
is computed only where the predicted IoU passes.
"""

from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional as F

from .encoder import Embeddings
from .folded_decoder import FoldedDecoder, MaskState, PromptState, to_grid
from .folding import ImageState


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

"""SAM 2's mask decoder: one more token, and finer image features that are added while tokens are upscaled."""

from dataclasses import replace

import torch
from torch import Tensor

from .encoder import Embeddings
from .folded_decoder import FoldedDecoder, MaskState, PromptState, cropped
from .folding import ImageState


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

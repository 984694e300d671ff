"""Mask decoders that are not segment_anything's own, as they are."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from .encoder import Embeddings
from .precision import computed_in


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
        with computed_in(self.dtype, sparse.device):
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

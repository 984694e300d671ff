"""The mask decoder of the small SAM: one logit a token, and interpolation between tokens."""

from torch import Tensor
from torch.nn import functional as F

from .folded_decoder import FoldedDecoder, MaskState, PromptState
from .folding import ImageState


class SmoothedDecoder(FoldedDecoder):
    """As ``FoldedDecoder``, for a decoder that averages the 16 pixels of a token and enlarges the result bilinearly.

    Both are linear, and so is the product with the kernels. So it comes between them: sixteen times fewer products.
    """

    def select(self, image: ImageState, prompts: PromptState, rows: Tensor, corner: tuple) -> MaskState:
        """As in ``FoldedDecoder``, with one more row and column of tokens, into which the interpolation reaches."""
        return super().select(image, prompts, rows, tuple(min(n + 1, all_) for n, all_ in zip(corner, image.grid)))

    def masks(self, image: ImageState, state: MaskState, which: Tensor) -> Tensor:
        """As in ``FoldedDecoder``; the last two rows and columns are wrong where the corner ends inside the grid."""
        tokens = self._pixels(image, state).unflatten(1, (-1, 16)).mean(2)
        logits = (state.kernels @ tokens.transpose(1, 2)).flatten(0, 1)[which]
        return F.interpolate(logits.unflatten(1, (1, *state.grid)), scale_factor=4, mode='bilinear')[:, 0]

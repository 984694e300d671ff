"""Which decoder serves a SAM."""

import torch
from torch import nn

from .folded_decoder import FoldedDecoder
from .folding import is_foldable, is_from, is_smoothed
from .hq_decoder import HQDecoder
from .plain_decoder import PlainDecoder
from .sam2_decoder import Sam2Decoder
from .smoothed_decoder import SmoothedDecoder


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

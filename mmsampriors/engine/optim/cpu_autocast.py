"""Mixed precision on the CPU."""

from contextlib import contextmanager

import torch
from mmengine.optim import OptimWrapper
from torch import nn

from mmsampriors.registry import OPTIM_WRAPPERS


@OPTIM_WRAPPERS.register_module()
class CPUAmpOptimWrapper(OptimWrapper):
    """bfloat16 by autocast on the CPU, where mmengine 0.10.7's AmpOptimWrapper asks for a GPU. [ours]

    Args:
        dtype (str): ``'bfloat16'``; float16 needs a scaled loss, and operators that the CPU lacks.
        **kwargs: Those of mmengine's OptimWrapper.

    Raises:
        ValueError: Another ``dtype``.
    """

    def __init__(self, dtype: str = 'bfloat16', **kwargs):
        if dtype != 'bfloat16':
            raise ValueError(
                f'mixed precision on the CPU is bfloat16: expected optim_wrapper.dtype=bfloat16, found {dtype!r}'
            )
        super().__init__(**kwargs)

    @contextmanager
    def optim_context(self, model: nn.Module):
        """As mmengine's, with autocast."""
        with super().optim_context(model), torch.autocast('cpu', torch.bfloat16):
            yield

"""Working in half precision."""

from contextlib import AbstractContextManager, nullcontext

import torch


def computed_in(dtype: torch.dtype, device: torch.device) -> AbstractContextManager:
    """Autocast to a half precision; nothing at all for float32, which torch 2.1 refuses to name on the CPU."""
    return torch.autocast(device.type, dtype) if dtype.itemsize < 4 else nullcontext()

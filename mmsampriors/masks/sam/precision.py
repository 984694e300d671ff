"""Working in half precision."""

from contextlib import AbstractContextManager, nullcontext

import torch


def computed_in(dtype: torch.dtype, device: torch.device) -> AbstractContextManager:
    """Autocast to a half precision; nothing at all for float32, which torch 2.1 refuses to name on the CPU."""
    return torch.autocast(device.type, dtype) if dtype.itemsize < 4 else nullcontext()


def fastest_exact_enough(device: torch.device) -> torch.dtype:
    """bfloat16 on a GPU that computes in it (compute capability 8 or later), float32 elsewhere.

    In bfloat16 a prompt now and then passes a threshold that it fails in float32; ``agreement_with_first`` of
    ``.dev_scripts/benchmarks/mask_engine.py`` says how much masks change. It keeps float32's range, float16 does not.
    """
    half = device.type == 'cuda' and torch.cuda.get_device_capability(device)[0] >= 8
    return torch.bfloat16 if half else torch.float32

"""How a process that trains on the CPU holds its memory."""

import ctypes

import torch

#: Of glibc's malloc.h.
M_TRIM_THRESHOLD, M_MMAP_MAX, M_ARENA_MAX = -1, -4, -8


def keep_freed_memory() -> bool:
    """Makes glibc keep what is freed for the next allocation, as PyTorch's allocator on a GPU does. [ours]

    By default it returns the activations of a step to the system and fetches them anew, page by page, in the next: a
    joint step of Restormer takes 1.5 times as long. Does nothing where there is a GPU, or another C library.

    Returns:
        bool: Whether it was done.
    """
    mallopt = None if torch.cuda.is_available() else getattr(ctypes.CDLL(None), 'mallopt', None)
    if mallopt is None:
        return False
    # One heap, whose end is never given back, and nothing mapped apart from it.
    return all([mallopt(M_ARENA_MAX, 1), mallopt(M_MMAP_MAX, 0), mallopt(M_TRIM_THRESHOLD, -1)])

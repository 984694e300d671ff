"""Words between host and device: the only places where the mask engine waits for one, or copies to it."""

import numpy as np
import torch
from torch import Tensor


def to_host(tensor: Tensor) -> np.ndarray:
    """The values of a tensor. The host waits until the device has computed them."""
    return tensor.cpu().numpy()


def to_device(values, device: torch.device) -> Tensor:
    """A tensor on ``device``, without waiting: to a GPU from pinned memory, behind the work that is queued.

    Args:
        values (Tensor | ndarray): Anywhere.
        device (torch.device): Where they are wanted.
    """
    values = torch.from_numpy(values) if isinstance(values, np.ndarray) else values
    if values.device == device or device.type != 'cuda':
        return values.to(device)
    return (values.pin_memory() if values.device.type == 'cpu' else values).to(device, non_blocking=True)

"""Gradient clipping that does not couple student and refiner."""

from typing import Callable

from torch import nn


class ClipByOwner:
    """Clips the gradients of the student and those of SPF unit and refiner apart.

    One norm over both would let a large gradient of the one shrink the steps of the other.

    Args:
        model (SPDModel): The model.
        clip (callable): ``torch.nn.utils.clip_grad_norm_`` or the like.
    """

    def __init__(self, model: nn.Module, clip: Callable):
        self.student = {id(parameter) for parameter in model.generator.parameters()}
        self.clip = clip

    def __call__(self, parameters, **kwargs):
        """Clips in place and returns the student's norm, or the refiner's where the student is frozen."""
        parameters = list(parameters)
        student = [parameter for parameter in parameters if id(parameter) in self.student]
        refiner = [parameter for parameter in parameters if id(parameter) not in self.student]
        norms = [self.clip(group, **kwargs) for group in (student, refiner) if group]
        return norms[0]

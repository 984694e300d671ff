"""Hooks that save time or memory: compiling, and checkpointing of activations."""

from functools import partial
from typing import Iterator

import torch
from mmengine.hooks import Hook
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from mmsampriors.models.networks import unwrapped
from mmsampriors.registry import HOOKS


@HOOKS.register_module()
class CompileHook(Hook):
    """Compiles student and refiner for training. What lies between them (masks, losses, stages) stays Python.

    Validation, whose images differ in size, runs the networks as they are, and so does the exported student.

    Args:
        **options: Arguments of ``torch.compile``, such as ``mode='max-autotune'``.

    Raises:
        RuntimeError: This torch cannot compile a module in place.
    """

    def __init__(self, **options):
        self.options = options
        if not hasattr(torch.nn.Module, 'compile'):
            raise RuntimeError(
                f'CompileHook needs torch 2.2 or later, found {torch.__version__}: take it out of custom_hooks'
            )

    def before_train(self, runner):
        # SPF enters the refiner's first feature map by a hook. By default dynamo takes a network that it compiled
        # without hooks, the student, for one of the same class with a hook.
        torch._dynamo.config.skip_nnmodule_hook_guards = False
        for network in _networks(runner):
            network.compile(**self.options)

    def before_val(self, runner):
        self.compiled = [network._compiled_call_impl for network in _networks(runner)]
        for network in _networks(runner):
            network._compiled_call_impl = None

    def after_val(self, runner):
        for network, compiled in zip(_networks(runner), self.compiled):
            network._compiled_call_impl = compiled


def _networks(runner):
    model = unwrapped(runner.model)
    return model.generator, model.refiner


CONTAINERS = (nn.Sequential, nn.ModuleList)


@HOOKS.register_module()
class CheckpointActivationsHook(Hook):
    """Keeps only what enters the blocks of student and refiner, and runs each block once more in the backward pass.

    Gradients stay as they are, and so do weights, checkpoints, validation and the exported student. mmengine's own
    ``activation_checkpointing`` wants each block by its name, and leaves a block whose input has no gradient, such as
    one that takes the image, without any.
    """

    def before_train(self, runner):
        """Lets all that follows, and nothing before, run through checkpoints."""
        model = unwrapped(runner.model)
        checkpoint_blocks(model)


def checkpoint_blocks(model: nn.Module):
    """Makes the blocks of an SPDModel's student and refiner keep their inputs only.

    Args:
        model (SPDModel): Changed in place.

    Raises:
        ValueError: The student has no blocks, or a network has one that counts what it is shown.
    """
    entry = model.refiner.get_submodule(model.spf.entry) if model.spf.inject == 'feature' else None
    for network in (model.generator, model.refiner):
        # SPF's features enter by a hook, and are gone by the backward pass: the block that they enter stays whole.
        blocks = [block for block in blocks_of(network) if entry not in block.modules()]
        if not blocks and network is model.generator:  # a plain refiner of few layers keeps little
            raise ValueError(
                f'{type(network).__name__} has no blocks whose activations could be dropped (modules of '
                'modules in an nn.Sequential or nn.ModuleList): take CheckpointActivationsHook out of '
                'custom_hooks'
            )
        for block in blocks:
            if any(isinstance(module, _BatchNorm) for module in block.modules()):
                raise ValueError(
                    f'{type(network).__name__} has batch normalizations, which would count each image '
                    'twice: take CheckpointActivationsHook out of custom_hooks'
                )
            block.forward = partial(checkpoint, block.forward, use_reentrant=False)


def blocks_of(network: nn.Module) -> Iterator[nn.Module]:
    """The outermost modules of modules in an ``nn.Sequential`` or ``nn.ModuleList``, such as NAFNet's NAFBlocks.

    Args:
        network (nn.Module): Any.
    """
    for child in network.children():
        in_container = isinstance(network, CONTAINERS) and not isinstance(child, CONTAINERS)
        if in_container and next(child.children(), None) is not None:
            yield child
        else:
            yield from blocks_of(child)

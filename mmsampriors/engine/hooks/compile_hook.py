"""torch.compile where it pays and where it can."""

import torch
from mmengine.hooks import Hook

from mmsampriors.models.unwrapped import unwrapped
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
        # SPF enters the refiner's first feature map by a hook. Unless told, dynamo takes a network that it compiled
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

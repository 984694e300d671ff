"""Tests a student as the stock model that it is, and the refined images."""

import copy
import os.path as osp

from mmengine.hooks import Hook

from mmsampriors.models.unwrapped import unwrapped
from mmsampriors.registry import SCOPE, is_a

from .console import ConsoleRunner
from .export import stock_model, student_weights
from .pretrained import misfit, refuse_misfit, weights_of, without_wrapper

PARTIAL = 'Take a checkpoint that this config trained. To test it as it is, add --allow-partial'


class FittingCheckpointHook(Hook):
    """Refuses a checkpoint that lacks weights of what is tested, and takes SPF unit and refiner out of it where the
    student is tested alone.

    Args:
        refined (bool): Whether refined images are tested.
        allow_partial (bool): Whether weights that are missing are a warning.
    """

    def __init__(self, refined: bool, allow_partial: bool):
        self.refined, self.allow_partial = refined, allow_partial

    def after_load_checkpoint(self, runner, checkpoint):
        found = checkpoint.get('state_dict', checkpoint)
        if self.refined and not any(key.startswith('refiner.') for key in without_wrapper(found)):
            raise ValueError('--refined needs a training checkpoint of an SPDModel; this one holds no refiner')
        model = unwrapped(runner.model)
        whole = self.refined or not hasattr(model, 'generator')
        expected = weights_of(model) if whole else weights_of(model, 'generator')
        if self.allow_partial:
            message = misfit(found, expected)
            if message:
                runner.logger.warning(f'--allow-partial: the checkpoint does not fit the model: {message}')
        else:
            refuse_misfit(found, expected, type(model).__name__, PARTIAL)
        if not self.refined:
            checkpoint['state_dict'] = student_weights(found)


class KeepMetricsHook(Hook):
    """Keeps the metrics of the test; mmagic's test loop does not return them."""

    def __init__(self):
        self.metrics = {}

    def after_test_epoch(self, runner, metrics=None):
        # Where a test set has no metrics mmagic reports a text.
        numbers = {name: value for name, value in (metrics or {}).items() if not isinstance(value, str)}
        self.metrics.update({name: float(value) for name, value in numbers.items()})


def config_of(cfg, refined):
    """The config that tests the student, or the refined images, whose logs and pictures get a folder of their own."""
    cfg = copy.deepcopy(cfg)
    if refined:
        cfg.model.test_cfg = {**(cfg.model.get('test_cfg') or {}), 'refined': True}
        cfg.work_dir = osp.join(cfg.work_dir, 'refined')
        cfg.experiment_name = f'{cfg.get("experiment_name", "test")}_refined'
    elif is_a(cfg.model, 'SPDModel'):
        cfg.model = stock_model(cfg.model)
    # Nothing of training: mmengine's Runner would build the training set to know the iteration, which mmagic's
    # visualization hook asks for, and whoever tests need not have it.
    cfg.train_dataloader = cfg.train_cfg = cfg.optim_wrapper = cfg.param_scheduler = None
    cfg.custom_hooks = [hook for hook in cfg.get('custom_hooks', []) if not str(hook['type']).startswith(f'{SCOPE}.')]
    return cfg


def test(cfg, refined, allow_partial=False):
    """Runs the test loop and gives its metrics, ``prefix/name`` to value; see :class:`FittingCheckpointHook`."""
    kept = KeepMetricsHook()
    runner = ConsoleRunner.from_cfg(config_of(cfg, refined))
    runner.register_hook(FittingCheckpointHook(refined, allow_partial))
    runner.register_hook(kept, 'LOWEST')
    runner.test()
    return kept.metrics

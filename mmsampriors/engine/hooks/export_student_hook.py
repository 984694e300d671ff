"""Exports the student while it trains."""

import glob
import os
import os.path as osp

from mmengine.dist import master_only
from mmengine.hooks import CheckpointHook, EMAHook, Hook
from mmengine.runner import CheckpointLoader
from mmengine.runner.checkpoint import weights_to_cpu

from mmsampriors.models.unwrapped import unwrapped
from mmsampriors.registry import HOOKS

from ..export import write_student


@HOOKS.register_module()
class ExportStudentHook(Hook):
    """Writes ``student.pth`` and ``student.py`` at the end, and ``student_best_*.pth`` beside each best checkpoint.

    Stock mmagic loads them; see :mod:`mmsampriors.engine.export`. With EMAHook they hold the averaged weights, as the
    checkpoints' ``state_dict`` does.
    """

    # After CheckpointHook, which decides what is best.
    priority = 'LOWEST'

    def __init__(self):
        self._exported = set()

    @master_only
    def after_val_epoch(self, runner, metrics=None):
        """Exports each new best checkpoint from its file: after a resume it need not be the model at hand."""
        for best in _best_checkpoints(runner):
            if best in self._exported or not osp.isfile(best):
                continue
            folder, name = osp.split(best)
            path = osp.join(folder, f'student_{name}')
            weights = CheckpointLoader.load_checkpoint(best, map_location='cpu')['state_dict']
            write_student(weights, runner.cfg, path)
            _remove_older(path)
            self._exported.add(best)

    @master_only
    def after_train(self, runner):
        path = osp.join(runner.work_dir, 'student.pth')
        write_student(weights_to_cpu(_final_model(runner).state_dict()), runner.cfg, path)
        runner.logger.info(f'The student is exported to {path}: stock mmagic loads it with student.py beside it')


def _final_model(runner):
    """The model whose weights a checkpoint of now would hold: the averaged one where EMAHook averages."""
    for hook in runner.hooks:
        if isinstance(hook, EMAHook):
            return hook.ema_model.module
    return unwrapped(runner.model)


def _best_checkpoints(runner):
    for hook in runner.hooks:
        if isinstance(hook, CheckpointHook) and hook.save_best:
            best = [getattr(hook, 'best_ckpt_path', None), *getattr(hook, 'best_ckpt_path_dict', {}).values()]
            yield from filter(None, best)


def _remove_older(path):
    """Removes the exports of earlier checkpoints that were best by the same metric, those of an earlier run too."""
    indicator = osp.splitext(path)[0].rstrip('0123456789')
    for other in glob.glob(glob.escape(indicator) + '[0-9]*'):
        if osp.splitext(other)[0] != osp.splitext(path)[0]:
            os.remove(other)

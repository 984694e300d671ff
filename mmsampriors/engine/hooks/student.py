"""Hooks on the finished student: exporting it, and blending it with the network that it started from."""

import glob
import os.path as osp

from mmengine.dist import master_only
from mmengine.hooks import CheckpointHook, EMAHook, Hook
from mmengine.logging import print_log
from mmengine.runner.checkpoint import weights_to_cpu

from mmsampriors.checkpoints import read_checkpoint
from mmsampriors.files import MadeFiles
from mmsampriors.models import SPDModel
from mmsampriors.models.networks import blend, unwrapped
from mmsampriors.registry import HOOKS

from ..export import exported_files, write_student

TOOL = 'train'  # in whose records the exports are


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
    def before_run(self, runner):
        """Looks, before the work, whether the student would replace a file of others."""
        MadeFiles(runner.work_dir, TOOL).refuse_changed(exported_files('student.pth'))

    @master_only
    def after_val_epoch(self, runner, metrics=None):
        """Exports each new best checkpoint from its file: after a resume it need not be the model at hand."""
        for best in _best_checkpoints(runner):
            if best in self._exported or not osp.isfile(best):
                continue
            folder, name = osp.split(best)
            path = osp.join(folder, f'student_{name}')
            weights = read_checkpoint(best)['state_dict']
            write_student(weights, runner.cfg, path, TOOL)
            _remove_older(path)
            self._exported.add(best)

    @master_only
    def after_train(self, runner):
        path = osp.join(runner.work_dir, 'student.pth')
        write_student(weights_to_cpu(_final_model(runner).state_dict()), runner.cfg, path, TOOL)
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
    folder, indicator = osp.dirname(path), osp.splitext(path)[0].rstrip('0123456789')
    others = [osp.basename(other) for other in glob.glob(glob.escape(indicator) + '[0-9]*')]
    made, kept = MadeFiles(folder, TOOL), list(map(osp.basename, exported_files(path)))
    for name in others:
        if name not in kept and made.is_done(name):
            made.remove([name])


@HOOKS.register_module()
class BlendStudentHook(Hook):
    """After the last iteration, gives the student the mean of its own weights and those of the initial student [ours].

    What it learns in other rain costs it something in the rain of its pairs. In our runs (docs/unlabeled.md) half of
    the way to the new weights costs less than half of that, and keeps more than half of the gain. The mean is that of
    Wortsman et al., "Robust fine-tuning of zero-shot models", CVPR 2022. The last checkpoint, its validation and the
    exported student have it; checkpoints before have not. Where nothing is distilled in the last iteration, the
    student keeps its own weights.

    Args:
        end_weight (float): Of the student's own weights in the mean, in (0, 1]. 1 leaves them as they are.

    Raises:
        ValueError: ``end_weight`` is out of range; the model has no initial student, or one that is not finished; or
            EMAHook averages too.
    """

    # Before CheckpointHook writes the last one.
    priority = 'HIGHEST'

    def __init__(self, end_weight: float = 0.5):
        if not 0 < end_weight <= 1:
            raise ValueError(f'BlendStudentHook.end_weight must be in (0, 1], found {end_weight}')
        self.end_weight = end_weight

    def before_train(self, runner) -> None:
        model = unwrapped(runner.model)
        if not isinstance(model, SPDModel) or model.initial_student is None:
            raise ValueError(
                'BlendStudentHook needs the student that the refiner was trained on, and this model keeps none: set '
                "model.spd.schedule to dict(type='TwoStageSchedule', ...), or leave the hook out"
            )
        if model.schedule.phase(0, runner.max_iters).student:
            raise ValueError(
                'BlendStudentHook averages the student with the one that the refiner was trained on, which this '
                'schedule has hardly trained: start from a finished student (load_from) with '
                'model.spd.schedule.warmup=0, or leave the hook out'
            )
        if self.end_weight < 1 and any(isinstance(hook, EMAHook) for hook in runner.hooks):
            raise ValueError('BlendStudentHook and EMAHook both make means of weights: leave one out')

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        if self.end_weight == 1 or runner.iter + 1 < runner.max_iters:
            return
        model = unwrapped(runner.model)
        if not model.phase.ramp:
            print_log(
                'Nothing was distilled: the student keeps its own weights, BlendStudentHook does nothing', 'current'
            )
            return
        blend(model.generator, model.initial_student, self.end_weight)
        print_log(f'The student keeps {self.end_weight:.0%} of the way from the initial student', 'current')

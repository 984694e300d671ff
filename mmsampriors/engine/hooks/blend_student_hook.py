"""The trained student drawn back towards the one that it started from."""

from mmengine.hooks import EMAHook, Hook
from mmengine.logging import print_log

from mmsampriors.models import SPDModel
from mmsampriors.models.frozen_copy import blend
from mmsampriors.models.unwrapped import unwrapped
from mmsampriors.registry import HOOKS


@HOOKS.register_module()
class BlendStudentHook(Hook):
    """After the last iteration, gives the student the mean of its own weights and those of the first student [ours].

    What it learns in other rain costs it something in the rain of its pairs. In our runs (docs/unlabeled.md) half of
    the way to the new weights costs less than half of that, and keeps more than half of the gain. The mean is that of
    Wortsman et al., "Robust fine-tuning of zero-shot models", CVPR 2022. The last checkpoint, its validation and the
    exported student have it; checkpoints before have not.

    Args:
        share (float): Of the student's own weights in the mean, in (0, 1]. 1 leaves them as they are.

    Raises:
        ValueError: ``share`` is out of range; the model has no first student, or one that is not finished; or EMAHook
            averages too.
    """

    # Before CheckpointHook writes the last one.
    priority = 'HIGHEST'

    def __init__(self, share: float = 0.5):
        if not 0 < share <= 1:
            raise ValueError(f'BlendStudentHook.share must be in (0, 1], found {share}')
        self.share = share

    def before_train(self, runner) -> None:
        model = unwrapped(runner.model)
        if not isinstance(model, SPDModel) or model.first_student is None:
            raise ValueError(
                'BlendStudentHook needs the student that the refiner was trained on, and this model keeps none: set '
                "model.spd.schedule to dict(type='TwoStageSchedule', ...), or leave the hook out"
            )
        if model.schedule.phase(0, runner.max_iters).student:
            raise ValueError(
                'BlendStudentHook draws the student back to the one that the refiner was trained on, which this '
                'schedule has hardly trained: start from a finished student (load_from) with '
                'model.spd.schedule.warmup=0, or leave the hook out'
            )
        if self.share < 1 and any(isinstance(hook, EMAHook) for hook in runner.hooks):
            raise ValueError('BlendStudentHook and EMAHook both make means of weights: leave one out')

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        if self.share < 1 and runner.iter + 1 == runner.max_iters:
            model = unwrapped(runner.model)
            blend(model.generator, model.first_student, self.share)
            print_log(f'The student keeps {self.share:.0%} of the way from the first student', 'current')

"""Whether the refiner has something to teach."""

from mmengine.hooks import Hook

from mmsampriors.models.unwrapped import unwrapped
from mmsampriors.registry import HOOKS

REMEDIES = (
    'give the refiner a longer stage (model.spd.schedule.refiner of TwoStageSchedule), let distillation begin '
    'later (model.spd.schedule.begin of JointSchedule), or start from a trained student (load_from)'
)


@HOOKS.register_module()
class RefinerGainHook(Hook):
    """Logs by how many dB the refined images of a batch beat the restored ones (``spd.gain``), and warns once, when
    distillation sets in, where they do not: the student would learn from a worse image.

    Args:
        interval (int): Iterations between two readings, which wait for the device.
        readings (int): Readings that the warning looks at.
    """

    def __init__(self, interval: int = 10, readings: int = 10):
        self.interval, self.readings, self.judged = interval, readings, False

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        model = unwrapped(runner.model)
        if model.refiner_gain is None or not self.every_n_train_iters(runner, self.interval):
            return
        runner.message_hub.update_scalar('train/spd.gain', model.refiner_gain)
        history = runner.message_hub.get_scalar('train/spd.gain')
        if self.judged or not model.phase.ramp or len(history.data[0]) < self.readings:
            return
        self.judged = True
        gain = history.mean(self.readings)
        if gain <= 0:
            runner.logger.warning(
                f'The student learns from the refiner now, and the refiner is not better than the student: {gain:+.3f} '
                f'dB over the last {self.readings} readings (spd.gain). Ways out: {REMEDIES}'
            )

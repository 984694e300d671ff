"""How long a training will still take."""

from mmengine.hooks import Hook

from mmsampriors.registry import HOOKS


@HOOKS.register_module()
class TimeLeftHook(Hook):
    """Tells the time left anew at each iteration.

    mmagic 1.2.0's IterTimerHook tells it every 100 iterations: not at all before, and standing still between. Here it
    is the mean time of the last iterations, those of the present stage only, times the iterations that are left.
    """

    # After IterTimerHook (NORMAL), before LoggerHook (BELOW_NORMAL).
    priority = 55
    WINDOW = 100  # iterations

    def before_train(self, runner):
        self.stage, self.count = None, 0

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        stage = runner.message_hub.log_scalars.get('train/spd.stage')
        stage = stage and stage.current()
        self.count = self.count + 1 if stage == self.stage else 1
        self.stage = stage
        seconds = runner.message_hub.get_scalar('train/time').mean(min(self.count, self.WINDOW))
        runner.message_hub.update_info('eta', seconds * (runner.max_iters - runner.iter - 1))

"""The hook that runs the schedule: what trains in an iteration."""

import torch
from mmagic.engine.hooks import ExponentialMovingAverageHook
from mmengine.hooks import EMAHook, Hook
from mmengine.model import is_model_wrapper

from mmsampriors.checks.config_check import check_config
from mmsampriors.checks.length_check import refuse_empty_stages
from mmsampriors.compat.upstream import accumulated_iterations, is_resumed
from mmsampriors.models import SPDModel
from mmsampriors.models.networks import unwrapped
from mmsampriors.models.schedules import STAGES
from mmsampriors.registry import HOOKS

from ..optim import ClipByOwner
from ..pretrained import fit_to_model

OF_A_STAGE = ('train/grad.', 'train/student.loss', 'train/refiner.loss', 'train/spd.loss', 'train/sgr.loss')


@HOOKS.register_module()
class SPDScheduleHook(Hook):
    """Tells the model what each iteration trains, and logs it.

    After each step it adapts the weights of relative losses to the gradients of that step.

    Logged are the weight of each loss as it is now (``spd.weight`` is λ1, ``sgr.weight`` λ2), the stage (``spd.stage``:
    0 joint, 1 refiner, 2 student, 3 warmup), and the L2 norms of the losses' gradients at the restored image
    (``grad.student``, and ``grad.NAME`` for each loss that distils), without the factors of gradient accumulation and
    of a GradScaler.
    The iterations that gradient accumulation joins to one step are all of the phase of the first of them. A stage that
    begins drops the optimizer's state of what it freezes, in the checkpoints too.

    Args:
        interval (int): Iterations between two readings of the gradients' norms, which wait for the device.
    """

    priority = 'HIGH'

    def __init__(self, interval: int = 10):
        self.interval = interval

    def before_run(self, runner):
        """Refuses what would silently do nothing."""
        check_config(runner.cfg)
        if not isinstance(unwrapped(runner.model), SPDModel):
            raise ValueError(
                f'SPDScheduleHook is in custom_hooks, but the model is a {type(unwrapped(runner.model)).__name__}'
                ": write model = dict(type='mmsampriors.SPDModel', spd=_base_.spd), or take the hooks out"
            )
        _refuse_what_cannot_work(runner)

    def after_load_checkpoint(self, runner, checkpoint):
        """Refuses a checkpoint that would leave the student as it is, or half of it."""
        message = fit_to_model(checkpoint, unwrapped(runner.model))
        if message:
            runner.logger.info(message)

    def before_train(self, runner):
        """Builds SAM and the feature extractor, and clips the gradients of student and refiner apart."""
        model = unwrapped(runner.model)
        refuse_empty_stages(model.schedule, runner.max_iters, accumulated_iterations(runner.optim_wrapper))
        model.prepare(next(model.parameters()).device)
        if getattr(runner.optim_wrapper, 'clip_grad_kwargs', None):
            runner.optim_wrapper.clip_func = ClipByOwner(model, runner.optim_wrapper.clip_func)
        if model.mask_source.caution:
            runner.logger.warning(model.mask_source.caution)
        if not is_resumed(runner):
            for loss in model.losses.values():
                loss.reset_measured()
        self._enter(runner)

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        self._enter(runner)
        if self.every_n_train_iters(runner, self.interval):
            self._factor = _loss_factor(runner.optim_wrapper)

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        model, log = unwrapped(runner.model), runner.message_hub.update_scalar
        fraction = 1 / accumulated_iterations(runner.optim_wrapper)
        for name, loss in model.losses.items():
            log(f'train/{name}.weight', model.phase.ramp * loss.loss_weight)
            if model.phase.student and model.phase.ramp:
                loss.adapt_weight(model.gradient_norms, name, model.phase.ramp, fraction)
        log('train/spd.stage', STAGES.index(model.phase.name))
        if self.every_n_train_iters(runner, self.interval):
            for name, squares in model.gradient_norms.items():
                log(f'train/grad.{name}', squares.sum().sqrt() / self._factor)

    def _enter(self, runner):
        model, window = unwrapped(runner.model), accumulated_iterations(runner.optim_wrapper)
        first = runner.iter - runner.iter % window
        phase, before = model.schedule.phase(first, runner.max_iters), model.phase
        if phase == before:
            return
        # Also where a resumed run begins with the stage: the checkpoint was saved before it.
        last = model.schedule.phase(first - window, runner.max_iters).name if first else None
        if last == 'warmup' and phase.name == 'refiner':
            _start_refiner(runner)
        if last != phase.name:
            _forget_scalars(runner.message_hub)
        model.enter(phase)
        if before is None or phase.name != before.name:
            runner.logger.info(f'SPD stage from iteration {runner.iter} on: {phase.name}')
            drop_frozen_state(runner.optim_wrapper.optimizer)
            _rewrap(runner)


def drop_frozen_state(optimizer: torch.optim.Optimizer):
    """Frees what an optimizer keeps for frozen parameters: Adam's moments of the refiner are twice its weights."""
    for parameter in list(optimizer.state):
        if not parameter.requires_grad:
            del optimizer.state[parameter]


def _start_refiner(runner):
    """Lets the refiner begin, and the averaged one with it: its random weights would stay in the average for long."""
    model = unwrapped(runner.model)
    model.start_refiner()
    for hook in runner.hooks:
        if isinstance(hook, EMAHook):
            hook.ema_model.module.refiner.load_state_dict(model.refiner.state_dict())


def _forget_scalars(message_hub):
    """Drops the losses and gradients of the stage that is over: the log would repeat their last values for ever."""
    for name in [name for name in message_hub.log_scalars if name.startswith(OF_A_STAGE)]:
        del message_hub.log_scalars[name]


def _refuse_what_cannot_work(runner):
    if any(isinstance(hook, ExponentialMovingAverageHook) for hook in runner.hooks):
        raise ValueError(
            "mmagic's ExponentialMovingAverageHook adds networks that validation, the best checkpoint and "
            "the export do not use: average with mmengine's, dict(type='EMAHook', momentum=0.0002)"
        )
    if any(isinstance(hook, EMAHook) and hook.ema_cfg.get('update_buffers') for hook in runner.hooks):
        raise ValueError(
            'EMAHook with update_buffers=True would average the frozen student that the refiner sees: leave '
            'update_buffers out'
        )
    if runner.cfg.get('compile'):
        raise ValueError(
            f'compile={runner.cfg.compile!r} would compile the whole training step, whose masks, stages '
            "and hooks are Python: take it out and add dict(type='mmsampriors.CompileHook') to custom_hooks, which "
            'compiles student and refiner'
        )


def _loss_factor(optim_wrapper) -> float:
    """What the loss of this iteration is multiplied by before its backward pass."""
    scaler = getattr(optim_wrapper, 'loss_scaler', None)
    return optim_wrapper.scale_loss(1.0) * (scaler.get_scale() if scaler else 1.0)


def _rewrap(runner):
    """DDP reduces the parameters that were trainable when it was made: another stage needs another wrapper."""
    if is_model_wrapper(runner.model):
        runner.model = runner.wrap_model(runner.cfg.get('model_wrapper_cfg'), runner.model.module)

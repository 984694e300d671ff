"""Stops a run that has gone astray."""

import math

import torch
from mmengine.hooks import CheckpointHook, Hook

from mmsampriors.models.unwrapped import unwrapped
from mmsampriors.registry import HOOKS

REMEDIES = (
    'look at these images; or go on from that checkpoint (--resume) with clipped gradients '
    '(--cfg-options optim_wrapper.clip_grad.max_norm=1) or, with --amp, in bfloat16 (optim_wrapper.dtype=bfloat16); '
    'or start a new run from its weights (load_from) with a smaller learning rate (optim_wrapper.optimizer.lr)'
)


@HOOKS.register_module()
class FiniteLossHook(Hook):
    """Stops training where a loss is not finite, or where a checkpoint would hold weights that are not.

    No such checkpoint is written, nor is an older one removed for it.
    """

    # Before CheckpointHook.
    priority = 'HIGH'

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        # The logger has waited for this number already.
        if not torch.isfinite(torch.as_tensor(outputs['loss'])):
            names = ', '.join(_names(data_batch))
            raise FloatingPointError(
                f'iteration {runner.iter + 1}: {_not_finite(outputs)}, from the images {names}. '
                f'{_last_good(runner)} Ways out: {REMEDIES}'
            )
        if _saves_now(runner):
            _check_weights(runner)


def _not_finite(outputs):
    """The losses that are to blame; their sum, ``loss``, where none of them is."""
    values = {name: float(value) for name, value in outputs.items()}
    found = [f'{name} is {value}' for name, value in values.items() if name != 'loss' and not math.isfinite(value)]
    return ', '.join(found) or f'loss is {values["loss"]}'


def _check_weights(runner):
    model = unwrapped(runner.model)
    bad = [name for name, value in model.state_dict().items() if not torch.isfinite(value).all()]
    if bad:
        raise FloatingPointError(
            f'iteration {runner.iter + 1}: {len(bad)} weights are not finite, the first of them '
            f'{bad[0]}, though the loss is: a gradient was not. {_last_good(runner)} Ways out: '
            f'{REMEDIES}'
        )


def _saves_now(runner):
    saving = (hook for hook in runner.hooks if isinstance(hook, CheckpointHook) and not hook.by_epoch)
    return any(hook.every_n_train_iters(runner, hook.interval) for hook in saving)


def _last_good(runner):
    path = runner.message_hub.runtime_info.get('last_ckpt')
    return f'The last checkpoint before is {path}.' if path else 'There is no checkpoint yet.'


def _names(data_batch):
    samples = (sample.metainfo for sample in data_batch['data_samples'])
    return [str(meta.get('img_path') or meta.get('gt_path', '(unknown)')) for meta in samples]

"""Whether the refiner has earned the right to teach."""

import torch

from .refined_psnr_hook import RefinedPSNRHook

#: Where the decision is kept, in checkpoints too.
GAIN = 'spd.validated_gain'


@torch.no_grad()
def validated_gain(runner, num_images: int) -> float:
    """By how many dB the refined images of the validation beat the restored ones, as ``refined/gain`` says it.

    Args:
        runner (Runner): In training, with an SPDModel and a validation.
        num_images (int): How many images are looked at, the first ones, shared by the ranks.

    Returns:
        float: The same on all ranks.

    Raises:
        ValueError: There is no validation.
    """
    loop = runner.val_loop
    if loop is None:
        raise ValueError(
            'SPDScheduleHook.min_gain compares refined with restored images of the validation, and the config has '
            'none: set val_dataloader, val_evaluator and val_cfg, or min_gain=None'
        )
    hook, metrics = RefinedPSNRHook(num_images), {}
    runner.model.eval()
    hook.before_val_epoch(runner)
    for data in loop.dataloaders[0] if hasattr(loop, 'dataloaders') else loop.dataloader:
        if hook.has_enough:
            break
        hook.after_val_iter(runner, 0, outputs=runner.model.val_step(data))
    hook.after_val_epoch(runner, metrics)
    runner.model.train()
    return metrics['refined/gain']

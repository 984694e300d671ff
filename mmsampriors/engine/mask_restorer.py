"""A trained restoration network that restores whole images, for masks of source 'restored'."""

from mmsampriors.checkpoints import read_weights
from mmsampriors.datasets.stored_masks import datasets_with_pipeline
from mmsampriors.models.student import build_student


def restorer_of(cfg, source, dataset):
    """The restorer that a stored mask source names, or None where it segments the images as they are.

    Args:
        cfg (Config): Holds ``model``, whose student restores.
        source (MaskSource): A stored one, with ``source`` and, where that is 'restored', ``restorer``, a checkpoint.
        dataset (Dataset): The train dataset, built. Its pipeline says in which order the student takes channels.

    Returns:
        callable, optional: Takes (N, 3, H, W), RGB in [0, 1], and gives it restored.
    """
    if source.source != 'restored':
        return None
    steps = datasets_with_pipeline(dataset)[0].pipeline.transforms
    orders = {step.key: step.channel_order for step in steps if hasattr(step, 'channel_order')}
    # Noise that is drawn at random is put on a copy of the ground truth.
    order = orders['img'] if 'img' in orders else orders['gt']
    return build_student(cfg.model, read_weights(source.restorer), order, source.restorer).restore

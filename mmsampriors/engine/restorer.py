"""A trained restoration network that restores whole images, for masks of source 'restored'."""

from mmsampriors.datasets.stored_masks import datasets_with_pipeline
from mmsampriors.restoring.student import build_student

from .checkpoints import load_state_dict


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
    loaders = [
        step for step in datasets_with_pipeline(dataset)[0].pipeline.transforms if getattr(step, 'key', None) == 'img'
    ]
    weights = load_state_dict(source.restorer)
    return build_student(cfg.model, weights, loaders[0].channel_order, source.restorer).restore

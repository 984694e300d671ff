"""Refuses an ``spd`` config that would silently do nothing or something else than it says."""

KEYS = ('masks', 'spf', 'refiner', 'feature_extractor', 'losses', 'schedule')
OPTIONAL = ('refiner_from',)
MAY_BE_NONE = ('refiner', 'feature_extractor')


def check_spd(spd: dict):
    """Checks the parts of ``model.spd`` before anything is built.

    Raises:
        ValueError: An unknown or missing key, no masks, or nothing to distil.
    """
    if not isinstance(spd, dict):
        raise ValueError(
            f'model.spd must be a dict, found {spd!r}: inherit mmsampriors::_base_/spd.py and write '
            "model = dict(type='mmsampriors.SPDModel', spd=_base_.spd)"
        )
    unknown, missing = sorted(set(spd) - {*KEYS, *OPTIONAL}), [key for key in KEYS if key not in spd]
    if unknown or missing:
        raise ValueError(f'model.spd has unknown keys {unknown} and lacks {missing}; its keys are {(*KEYS, *OPTIONAL)}')
    if not spd['masks']:
        raise ValueError("model.spd.masks is empty. To distil without masks, say so: masks=dict(type='NoMasks')")
    for key in KEYS:
        if not isinstance(spd[key], dict) and (spd[key] is not None or key not in MAY_BE_NONE):
            raise ValueError(f'model.spd.{key} must be a config dict, found {spd[key]!r}')
    _check_losses(spd)


def _check_losses(spd):
    losses = {name: loss for name, loss in spd['losses'].items() if loss is not None}
    for name, loss in losses.items():
        if not isinstance(loss, dict) or 'type' not in loss:
            raise ValueError(f'model.spd.losses.{name} must be a config dict with a type, or None, found {loss!r}')
    if all(loss.get('loss_weight') == 0 for loss in losses.values()):
        raise ValueError(
            f'model.spd.losses has no loss whose loss_weight is not 0 (found {sorted(losses)}): the student would '
            'learn nothing from the refiner. Raise one, or train a BaseEditModel'
        )
    if 'sgr' in losses and not spd['feature_extractor']:
        raise ValueError(
            'model.spd.losses.sgr needs model.spd.feature_extractor, which is None: set it, or '
            'model.spd.losses.sgr=None'
        )

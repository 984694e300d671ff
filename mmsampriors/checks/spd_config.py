"""Refuses an ``spd`` config that would silently do nothing or something else than it says."""

import math

KEYS = ('masks', 'spf', 'refiner', 'analyzer', 'sgr', 'distill', 'schedule')
OPTIONAL = ('refiner_from',)


def check_spd(spd: dict):
    """Checks the parts of ``model.spd`` before anything is built.

    Raises:
        ValueError: An unknown or missing key, no masks, a weight below 0, or nothing to distil.
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
        if not isinstance(spd[key], dict) and (spd[key] is not None or key in ('spf', 'distill', 'schedule')):
            raise ValueError(f'model.spd.{key} must be a config dict, found {spd[key]!r}')
    for key in ('distill', 'sgr'):
        weight = (spd[key] or {}).get('loss_weight', 0)
        if isinstance(weight, bool) or not isinstance(weight, (int, float)) or not math.isfinite(weight):
            raise ValueError(f'model.spd.{key}.loss_weight must be a number, found {weight!r}')
        if weight < 0:
            raise ValueError(
                f'model.spd.{key}.loss_weight must be at least 0, found {weight}: below 0 the student would be '
                'driven away from the refined image'
            )
    weights = [spd['distill'].get('loss_weight'), spd['sgr'].get('loss_weight') if spd['sgr'] else 0]
    if weights == [0, 0]:
        raise ValueError(
            'model.spd.distill.loss_weight and model.spd.sgr.loss_weight are both 0: the student would '
            'learn nothing from the refiner. Raise one, or train a BaseEditModel'
        )
    if spd['sgr'] and not spd['analyzer']:
        raise ValueError('model.spd.sgr needs an analyzer: set model.spd.analyzer, or model.spd.sgr=None')

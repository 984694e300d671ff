"""Checks of a whole config, before any data is read."""
import os.path as osp
from typing import Iterator, Tuple

from mmengine.config import Config

from mmsampriors.models.spd_config import check_spd

OWN_BASE = osp.join(osp.dirname(osp.dirname(osp.abspath(__file__))), '.mim', 'configs', '_base_', 'spd.py')


def check_config(cfg: Config):
    """Refuses a config in which SPD would silently do nothing, or something else than it says.

    Raises:
        ValueError: Model without hook, hook without model, wrong ``model.spd``, or a top-level ``spd`` that was
            changed and has no effect.
    """
    hooks = [hook.get('type') for hook in cfg.get('custom_hooks', [])]
    has_model, has_hook = cfg.model.get('type') == 'SPDModel', 'SPDScheduleHook' in hooks
    if has_hook and not has_model:
        raise ValueError(f'custom_hooks has SPDScheduleHook, but model.type is {cfg.model.get("type")!r}, so nothing '
                         "would be distilled: write model = dict(type='SPDModel', spd=_base_.spd)")
    if not has_model:
        return
    if not has_hook:
        raise ValueError('model.type is SPDModel, but custom_hooks has no SPDScheduleHook: write custom_hooks = '
                         "_base_.get('custom_hooks', []) + _base_.spd_hooks")
    check_spd(cfg.model.get('spd'))
    _check_top_level(cfg)


def _check_top_level(cfg):
    """``_base_.spd`` is copied into ``model.spd`` when the file is read: a later change of ``spd`` reaches nothing."""
    if 'spd' not in cfg:
        return
    base = Config.fromfile(OWN_BASE, import_custom_modules=False).spd
    default, used, given = (dict(leaves(spd)) for spd in (base, cfg.model.spd, cfg.spd))
    for key in {**given, **default}:
        # None is a value that a key may have, so a key that is absent needs another sign.
        before, now, ours = (spd.get(key, '(absent)') for spd in (default, used, given))
        if ours not in (before, now):
            raise ValueError(f'spd.{key} = {ours!r} has no effect, for model.spd.{key} is {now!r}: set '
                             f'model.spd.{key} (on the command line: --cfg-options model.spd.{key}=...)')


def leaves(node, path: str = '') -> Iterator[Tuple[str, object]]:
    """The values of nested dicts with their dotted keys; scopes, which mmengine adds, are left out."""
    if not isinstance(node, dict) or not node:
        yield path, node
        return
    for key, value in node.items():
        if key != '_scope_':
            yield from leaves(value, f'{path}.{key}' if path else key)

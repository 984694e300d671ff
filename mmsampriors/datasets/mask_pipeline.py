"""Makes an inherited train pipeline carry stored masks."""

from typing import Optional

from mmagic.datasets import transforms as upstream

from mmsampriors.registry import SCOPE, TRANSFORMS

from .transforms import CARRIERS, CarryMasks, LoadMasks, PackMasks, can_carry

DEGRADES_AT_RANDOM = ('RandomNoise', 'RandomBlur', 'RandomJPEGCompression')
# Transforms of mmagic that keep every pixel in its place. Not their subclasses: these may do what they like.
NEUTRAL = (
    *DEGRADES_AT_RANDOM,
    'LoadImageFromFile',
    'LoadBlackTarget',
    'SetValues',
    'CopyValues',
    'Normalize',
    'RescaleToZeroOne',
    'Clip',
    'ColorJitter',
    'UnsharpMasking',
    'BinarizeImage',
)


def with_spd_masks(pipeline: list, store: Optional[dict], source: str = 'gt', neutral: tuple = ()) -> list:
    """The pipeline, with masks that are loaded, moved along with ``img`` and ``gt``, and packed.

    Args:
        pipeline (list[dict | callable]): A train pipeline, as configs or built.
        store (dict, optional): Config of the mask store, see :func:`mmsampriors.masks.build_store`; None for the empty
            set of masks.
        source (str): What the masks were computed from: 'gt', 'lq' or 'restored'. Defaults to 'gt'.
        neutral (tuple[str]): Names of further transforms that keep every pixel in its place.

    Returns:
        list: A new pipeline; the one given is left as it is. One that loads masks already is returned as it is.

    Raises:
        ValueError: A transform might leave the masks behind, ``gt`` is not loaded or nothing is packed, or ``source``
            is not 'gt' while the degraded image is drawn at random.
    """
    if any(_kind(step) is LoadMasks for step in pipeline):
        return pipeline
    if source != 'gt':
        _refuse_random_degradation(pipeline, source)
    carried, loaded = [], set()
    for step in pipeline:
        kind = _kind(step)
        if can_carry(kind):
            step = _carry(step, loaded)
        elif issubclass(kind, upstream.PackInputs):
            step = _wrap(PackMasks, pack=step)
        elif kind.__name__ not in (*NEUTRAL, *neutral):
            raise ValueError(_unknown(kind))
        carried.append(step)
        before = set(loaded)
        loaded.update(_adds(step, kind))
        if 'gt' in loaded - before:
            carried.append(_wrap(LoadMasks, store=store, key='gt' if source == 'gt' else 'img'))
    return _complete(carried)


def _carry(step, loaded: set):
    wrapped = CarryMasks(step)
    left = (loaded & {'img', 'gt'}) - wrapped.keys
    if 'gt' not in loaded or left:
        raise ValueError(
            f'{wrapped.wrapped} moves {sorted(wrapped.keys)} and not {sorted(left) or "a loaded gt"}: '
            'masks follow transforms that move the degraded image and its ground truth alike'
        )
    return _wrap(CarryMasks, transform=step)


def _complete(carried: list) -> list:
    kinds = [_kind(step) for step in carried]
    if LoadMasks not in kinds:
        raise ValueError(
            'stored masks have the size of the ground truth, and this train pipeline loads none: expected '
            "dict(type='LoadImageFromFile', key='gt')"
        )
    if PackMasks not in kinds:
        raise ValueError("this train pipeline ends without packing: expected dict(type='PackInputs')")
    return carried


def _refuse_random_degradation(pipeline: list, source: str) -> None:
    culprits = [_kind(step).__name__ for step in pipeline if _kind(step).__name__ in DEGRADES_AT_RANDOM]
    loads_img = any(
        'img' in _adds(step, _kind(step)) for step in pipeline if _kind(step).__name__ == 'LoadImageFromFile'
    )
    if culprits or not loads_img:
        raise ValueError(
            f'masks of source {source!r} cannot be stored: the degraded image is new every time '
            f"({', '.join(culprits) or 'it is not loaded from a file'}). Use source 'gt', or an online "
            'mask source'
        )


def _adds(step, kind: type) -> list:
    """Keys of images that a step adds."""
    names = {'LoadImageFromFile': 'key', 'LoadBlackTarget': 'key', 'CopyValues': 'dst_keys'}
    if kind.__name__ not in names:
        return []
    keys = step[names[kind.__name__]] if isinstance(step, dict) else getattr(step, names[kind.__name__])
    return [keys] if isinstance(keys, str) else keys


def _wrap(kind: type, **arguments):
    """A config where all that it is made from is one, else the transform, built."""
    built = any(not isinstance(value, (dict, str)) for value in arguments.values())
    return kind(**arguments) if built else dict(type=f'{SCOPE}.{kind.__name__}', **arguments)


def _kind(step) -> type:
    if not isinstance(step, dict):
        return type(step)
    kind = TRANSFORMS.get(step['type']) if isinstance(step['type'], str) else step['type']
    if kind is None:
        raise ValueError(f'{step["type"]!r} in the train pipeline is no registered transform')
    return kind


def _unknown(kind: type) -> str:
    return (
        f'{kind.__name__} in the train pipeline is not known to keep every pixel in its place and could leave '
        f'stored masks behind; masks can follow {", ".join(known.__name__ for known in CARRIERS)}. If it moves '
        f"nothing, name it: dict(type='mmsampriors.MaskCacheHook', neutral=['{kind.__name__}']). Otherwise take it "
        "out, or use an online mask source, such as model.spd.masks=dict(type='SAMMasks')"
    )

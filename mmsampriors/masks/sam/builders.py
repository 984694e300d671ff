"""Building SAMs by name, with their checkpoints; one copy serves all that use it."""

import os
import re
from functools import partial
from pathlib import Path
from typing import Callable, Optional
from weakref import WeakValueDictionary

from segment_anything import sam_model_registry
from torch import nn

from mmsampriors.checkpoints import download, download_checkpoint, read_checkpoint, read_weights
from mmsampriors.files import sha256_of

from .families import SAM2_CONFIGS, Sam2Images, hq_sam, mobile_sam, sam2_model
from .hugging_face import FILES, meta_names, sam_of_shapes
from .sam3 import build_sam3
from .tiny import TINY_AUTOMATIC, TINY_CHECKPOINT, build_sam_tiny

META, META2 = 'https://dl.fbaipublicfiles.com/segment_anything/', 'https://dl.fbaipublicfiles.com/segment_anything_2/'
HQ = 'https://huggingface.co/lkeab/hq-sam/resolve/main/'

#: Official checkpoints, as the repositories list them.
CHECKPOINT_URLS = {
    'vit_h': f'{META}sam_vit_h_4b8939.pth',
    'vit_l': f'{META}sam_vit_l_0b3195.pth',
    'vit_b': f'{META}sam_vit_b_01ec64.pth',
    'sam2.1_t': f'{META2}092824/sam2.1_hiera_tiny.pt',
    'sam2.1_s': f'{META2}092824/sam2.1_hiera_small.pt',
    'sam2.1_b+': f'{META2}092824/sam2.1_hiera_base_plus.pt',
    'sam2.1_l': f'{META2}092824/sam2.1_hiera_large.pt',
    'hq_vit_b': f'{HQ}sam_hq_vit_b.pth',
    'hq_vit_l': f'{HQ}sam_hq_vit_l.pth',
    'hq_vit_h': f'{HQ}sam_hq_vit_h.pth',
    'hq_vit_tiny': f'{HQ}sam_hq_vit_tiny.pth',
    'mobile_sam': 'https://github.com/ChaoningZhang/MobileSAM/raw/master/weights/mobile_sam.pt',
}

#: Name to a function that takes a checkpoint (path or None) and returns a ``Sam`` with weights, in eval mode.
SAM_BUILDERS = {}

#: SAMs whose file a user always names.
WITHOUT_WEIGHTS = ('hf', 'sam3')

#: Settings of automatic masks that suit Meta's SAMs, as segment-anything's generator has them.
META_AUTOMATIC = dict(points_per_side=32, pred_iou_thresh=0.88, stability_score_thresh=0.95, box_nms_thresh=0.7)

#: Name to the settings of automatic masks that suit that SAM.
SAM_AUTOMATIC = {}


def register_sam(name: str, builder: Callable, automatic: Optional[dict] = None) -> None:
    """Makes ``build_sam(name)`` known.

    Any ``Sam`` will do: fine-tuned, with another image encoder, with another mask decoder. The image encoder needs
    ``img_size``; a mask decoder that is not segment_anything's own keeps its own ``forward``, and the speed of it.

    Args:
        name (str): The ``model_type``.
        builder (Callable): ``builder(checkpoint)`` returns the ``Sam`` in eval mode; ``checkpoint`` is a path or None.
        automatic (dict, optional): Settings of automatic masks that suit it, some of the keys of
            :data:`META_AUTOMATIC`, which has the others. A SAM whose estimates of IoU run lower than Meta's needs a
            lower ``pred_iou_thresh``, or hardly a mask is found.

    Raises:
        ValueError: The name is taken by another builder, or ``automatic`` has unknown keys.

    Example:
        >>> register_sam('mine', lambda checkpoint: my_sam(checkpoint).eval())
        >>> engine = MaskEngine(build_sam('mine', 'mine.pth'))
    """
    if not isinstance(name, str) or not callable(builder):
        raise TypeError(f'expected a name and a function that builds the SAM, found {name!r} and {builder!r}')
    if SAM_BUILDERS.get(name, builder) is not builder:
        raise ValueError(f'a SAM named {name!r} is registered already; choose another name')
    unknown = sorted(set(automatic or {}) - set(META_AUTOMATIC))
    if unknown:
        raise ValueError(f'automatic of the SAM {name!r} has unknown keys {unknown}; it takes {list(META_AUTOMATIC)}')
    SAM_BUILDERS[name] = builder
    SAM_AUTOMATIC[name] = {**META_AUTOMATIC, **(automatic or {})}


def build_sam(model_type: str, checkpoint: str = None) -> nn.Module:
    """Builds a SAM with weights, in eval mode. ``sam.automatic`` holds the settings of automatic masks that suit it.

    Args:
        model_type (str): A key of :data:`SAM_BUILDERS`: one of :data:`CHECKPOINT_URLS`, ``tiny``, ``hf`` (any
            ``SamModel`` of transformers, pruned or not, whose sizes its weights say), ``sam3`` (a folder of
            ``Sam3TrackerModel``), or a registered one.
        checkpoint (str, optional): A local file of weights, a folder of transformers' ``SamModel``, or a URL. Defaults
            to the official one. What is downloaded is downloaded once, into torch.hub's folder.

    Returns:
        nn.Module: A ``segment_anything`` ``Sam``, or what has the parts of one under the same names.

    Raises:
        ImportError: The package of that family, an extra, is not installed.
        ValueError: Unknown ``model_type``, or a checkpoint that is damaged or of another architecture.
        FileNotFoundError: There is no such checkpoint, or it cannot be downloaded.
    """
    if not isinstance(model_type, str) or model_type not in SAM_BUILDERS:
        raise ValueError(
            f'model_type must be one of {sorted(SAM_BUILDERS)}, found {model_type!r}; register_sam adds others'
        )
    sam = SAM_BUILDERS[model_type](checkpoint)
    if not isinstance(sam, nn.Module):
        raise TypeError(f'the builder of the SAM {model_type!r} must return a network, found {type(sam).__name__}')
    sam.automatic = dict(SAM_AUTOMATIC.get(model_type, META_AUTOMATIC))
    return sam


def load_weights(sam: nn.Module, checkpoint: str, name: str) -> nn.Module:
    """Loads a checkpoint of plain tensors into ``sam``.

    Args:
        sam (nn.Module): The architecture.
        checkpoint (str): A file of a state dict, or of a dict with one under 'model', under the names of
            ``segment_anything`` or of transformers' ``SamModel``.
        name (str): What ``sam`` is called in errors.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file is damaged, holds no state dict, or one of another architecture.
    """
    return _fit(sam, _read_sam(checkpoint_file(name, checkpoint)), checkpoint, name)


def _read_sam(checkpoint: str) -> dict:
    """The state dict of a file, under segment_anything's names."""
    try:
        state = read_weights(checkpoint) if checkpoint.endswith('.safetensors') else read_checkpoint(checkpoint)
    except ValueError as error:
        raise ValueError(f'SAM checkpoint {checkpoint} cannot be read: {error}') from error
    return meta_names(state['model'] if isinstance(state.get('model'), dict) else state)


def _fit(sam: nn.Module, state: dict, checkpoint: str, name: str) -> nn.Module:
    expected = sam.state_dict()
    shapes = {key: tuple(getattr(value, 'shape', ())) for key, value in state.items()}
    wrong = [key for key, value in expected.items() if shapes.get(key) != tuple(value.shape)]
    wrong += [key for key in shapes if key not in expected]
    if wrong:
        raise ValueError(
            f'SAM checkpoint {checkpoint} does not fit {name}: {len(wrong)} entries are missing, unknown '
            f'or of another shape, the first is {wrong[0]!r}; check model_type against the file'
        )
    sam.load_state_dict(state)
    return sam


def checkpoint_id(model_type: str, checkpoint: str = None) -> str:
    """What identifies the weights of ``build_sam(model_type, checkpoint)``, without building it.

    Args:
        model_type (str): As for :func:`build_sam`.
        checkpoint (str, optional): As for :func:`build_sam`.

    Returns:
        str: The start of the file's SHA-256 that Meta's file names carry, for Meta's own weights, given or not; else
        the whole SHA-256 of the file, which is downloaded where it has to be; or the name of a registered SAM that
        comes with its weights.
    """
    meta = digest_in(CHECKPOINT_URLS.get(model_type, ''))
    if checkpoint is None and model_type == 'tiny':
        checkpoint = TINY_CHECKPOINT
    if checkpoint is None and (meta or model_type not in (*CHECKPOINT_URLS, *WITHOUT_WEIGHTS)):
        return meta or model_type
    digest = sha256_of(checkpoint_file(model_type, checkpoint))
    return meta if meta and digest.startswith(meta) else digest


def checkpoint_file(model_type: str, checkpoint: Optional[str]) -> str:
    """The local file of a checkpoint, downloaded where it has to be.

    Args:
        model_type (str): As for :func:`build_sam`.
        checkpoint (str, optional): As for :func:`build_sam`.

    Raises:
        FileNotFoundError: There is no such file, or it cannot be downloaded.
    """
    if checkpoint is None and model_type not in CHECKPOINT_URLS:
        raise ValueError(f'the SAM {model_type} comes with no weights: give their file as checkpoint')
    checkpoint = str(checkpoint or CHECKPOINT_URLS[model_type])
    if re.match('(https?|file)://', checkpoint):
        if checkpoint in CHECKPOINT_URLS.values() or digest_in(checkpoint):
            return str(download(checkpoint, digest_in(checkpoint)))
        return str(download_checkpoint(checkpoint))  # model.safetensors is the name of many files
    checkpoint = next((str(path) for name in FILES if (path := Path(checkpoint, name)).is_file()), checkpoint)
    if not Path(checkpoint).is_file():
        raise FileNotFoundError(
            f'no SAM checkpoint at {checkpoint}: give the path of a local file for {model_type}, '
            'or leave checkpoint out to download it'
        )
    return checkpoint


def digest_in(url: str) -> Optional[str]:
    """The start of the SHA-256 with which the names of Meta's first files end, or None."""
    tail = Path(url).stem.rsplit('_', 1)[-1]
    return tail if re.fullmatch('[0-9a-f]{6,}', tail) else None


#: Name to a function that makes the architecture with random weights, as its checkpoint has it.
ARCHITECTURES = {
    **{size: sam_model_registry[size] for size in ('vit_b', 'vit_l', 'vit_h')},
    **{f'hq_{size}': partial(hq_sam, size) for size in ('vit_b', 'vit_l', 'vit_h', 'vit_tiny')},
    **{f'sam2.1_{size}': partial(sam2_model, size) for size in SAM2_CONFIGS},
    'mobile_sam': mobile_sam,
}


def _build(model_type: str, checkpoint: str = None) -> nn.Module:
    model = ARCHITECTURES[model_type]()  # first: a package that is missing is reported before gigabytes are fetched
    load_weights(model, checkpoint_file(model_type, checkpoint), model_type)
    return (Sam2Images(model) if model_type.startswith('sam2.') else model).eval()


def _build_hf(checkpoint: str = None) -> nn.Module:
    """A ``SamModel`` of transformers, of the sizes that its weights have."""
    file = checkpoint_file('hf', checkpoint)
    state = _read_sam(file)
    try:
        sam = sam_of_shapes(state)
    except KeyError as error:
        raise ValueError(f"{file} holds no SamModel of transformers and no SAM of Meta's: it has no {error}") from None
    return _fit(sam, state, file, 'hf').eval()


def _build_sam3(checkpoint: str = None) -> nn.Module:
    return build_sam3(checkpoint_file('sam3', checkpoint))


#: The thresholds of SAM 2's own generator where they differ from Meta's first.
SAM2_AUTOMATIC = dict(pred_iou_thresh=0.8)

register_sam('tiny', build_sam_tiny, TINY_AUTOMATIC)
register_sam('hf', _build_hf)
register_sam('sam3', _build_sam3, SAM2_AUTOMATIC)
for _name in ARCHITECTURES:
    register_sam(_name, partial(_build, _name), SAM2_AUTOMATIC if _name.startswith('sam2.') else None)


_ALIVE = WeakValueDictionary()


def shared_sam(model_type: str, checkpoint: str = None) -> nn.Module:
    """A frozen SAM as :func:`.builders.build_sam` makes it, the same object as long as somebody holds it.

    Who asks must not change its weights, may move it to a device, and must expect that others move it.

    Args:
        model_type (str): As for ``build_sam``.
        checkpoint (str, optional): As for ``build_sam``.
    """
    # the builder too: another one may have been registered under the name
    key = (model_type, SAM_BUILDERS.get(model_type), checkpoint and os.path.abspath(checkpoint))
    sam = _ALIVE.get(key)
    if sam is None:
        sam = _ALIVE[key] = build_sam(model_type, checkpoint).requires_grad_(False)
    return sam

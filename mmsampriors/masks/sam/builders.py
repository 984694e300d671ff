"""Building a ``Sam``: Meta's three sizes, and any that a user registers."""

import os
import pickle
from pathlib import Path
from typing import Callable, Optional
from urllib.error import URLError

import torch
from segment_anything import sam_model_registry
from segment_anything.modeling import Sam

from mmsampriors.files import sha256_of, written_whole

from .tiny import TINY_AUTOMATIC, TINY_CHECKPOINT, build_sam_tiny

#: Meta's checkpoints, as its repository lists them.
CHECKPOINT_URLS = {
    'vit_h': 'https://dl.fbaipublicfiles.com/segment_anything/sam_vit_h_4b8939.pth',
    'vit_l': 'https://dl.fbaipublicfiles.com/segment_anything/sam_vit_l_0b3195.pth',
    'vit_b': 'https://dl.fbaipublicfiles.com/segment_anything/sam_vit_b_01ec64.pth',
}

#: Name to a function that takes a checkpoint (path or None) and returns a ``Sam`` with weights, in eval mode.
SAM_BUILDERS = {}

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
    if SAM_BUILDERS.get(name, builder) is not builder:
        raise ValueError(f'a SAM named {name!r} is registered already; choose another name')
    unknown = sorted(set(automatic or {}) - set(META_AUTOMATIC))
    if unknown:
        raise ValueError(f'automatic of the SAM {name!r} has unknown keys {unknown}; it takes {list(META_AUTOMATIC)}')
    SAM_BUILDERS[name] = builder
    SAM_AUTOMATIC[name] = {**META_AUTOMATIC, **(automatic or {})}


def build_sam(model_type: str, checkpoint: str = None) -> Sam:
    """Builds a SAM with weights, in eval mode. ``sam.automatic`` holds the settings of automatic masks that suit it.

    Args:
        model_type (str): A key of :data:`SAM_BUILDERS`: ``vit_h``, ``vit_l``, ``vit_b`` or a registered one.
        checkpoint (str, optional): A local file of weights. Defaults to Meta's, downloaded once into torch.hub's
            folder.

    Raises:
        ValueError: Unknown ``model_type``, or a checkpoint that is damaged or of another architecture.
        FileNotFoundError: There is no such checkpoint, or it cannot be downloaded.
    """
    if model_type not in SAM_BUILDERS:
        raise ValueError(
            f'model_type must be one of {sorted(SAM_BUILDERS)}, found {model_type!r}; register_sam adds others'
        )
    sam = SAM_BUILDERS[model_type](checkpoint)
    sam.automatic = dict(SAM_AUTOMATIC.get(model_type, META_AUTOMATIC))
    return sam


def load_weights(sam: Sam, checkpoint: str, name: str) -> Sam:
    """Loads a checkpoint of plain tensors into ``sam``.

    Args:
        sam (Sam): The architecture.
        checkpoint (str): A file that ``torch.save`` wrote from a state dict.
        name (str): What ``sam`` is called in errors.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file is damaged, holds no state dict, or one of another architecture.
    """
    if not Path(checkpoint).is_file():
        raise FileNotFoundError(
            f'no SAM checkpoint at {checkpoint}: give the path of a local file for {name}, '
            'or leave checkpoint out to download it'
        )
    try:
        state = torch.load(checkpoint, map_location='cpu', weights_only=True)
    except (RuntimeError, EOFError, OSError, pickle.UnpicklingError) as error:
        size = os.path.getsize(checkpoint)
        raise ValueError(
            f'SAM checkpoint {checkpoint} ({size} bytes) cannot be read, it may be cut off or not a '
            f'PyTorch file of plain tensors: copy or download it again ({error})'
        ) from error
    expected = sam.state_dict()
    if not isinstance(state, dict):
        raise ValueError(f'SAM checkpoint {checkpoint} must hold a state dict, found {type(state).__name__}')
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
    """What tells the weights of ``build_sam(model_type, checkpoint)`` from others, without building it.

    Args:
        model_type (str): As for :func:`build_sam`.
        checkpoint (str, optional): As for :func:`build_sam`.

    Returns:
        str: The start of the file's SHA-256 that Meta's file names carry, for Meta's own weights, given or not; else
        the whole SHA-256 of the file; or the name of a registered SAM that comes with its weights.
    """
    meta = Path(CHECKPOINT_URLS[model_type]).stem.rsplit('_', 1)[1] if model_type in CHECKPOINT_URLS else None
    if checkpoint is None and model_type == 'tiny':
        checkpoint = TINY_CHECKPOINT
    if checkpoint is None:
        return meta or model_type
    if not Path(checkpoint).is_file():
        raise FileNotFoundError(f'no SAM checkpoint at {checkpoint}: give the path of a local file for {model_type}')
    digest = sha256_of(checkpoint)
    return meta if meta and digest.startswith(meta) else digest


def download(url: str) -> str:
    """Fetches a file once into ``torch.hub``'s checkpoint folder and returns its path.

    Raises:
        FileNotFoundError: It cannot be downloaded.
    """
    folder = Path(torch.hub.get_dir()) / 'checkpoints'
    target = folder / url.rsplit('/', 1)[1]
    if target.is_file():
        return str(target)
    try:
        with written_whole(target) as part:
            digest = target.stem.rsplit('_', 1)[1]  # Meta's names end with the start of the file's SHA-256
            torch.hub.download_url_to_file(url, str(part), hash_prefix=digest)
    except (URLError, OSError, RuntimeError) as error:
        raise FileNotFoundError(
            f'{url} cannot be downloaded to {target} ({error}): fetch it elsewhere and either give '
            f'its path as checkpoint or put it there'
        ) from error
    return str(target)


def _meta_builder(model_type: str) -> Callable:
    def build(checkpoint: str = None) -> Sam:
        path = checkpoint or download(CHECKPOINT_URLS[model_type])
        return load_weights(sam_model_registry[model_type](), path, model_type).eval()

    return build


register_sam('tiny', build_sam_tiny, TINY_AUTOMATIC)
for _name in CHECKPOINT_URLS:
    register_sam(_name, _meta_builder(_name))

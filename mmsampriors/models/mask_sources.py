"""Mask sources: where the masks of a training come from."""

import inspect
import os.path as osp
import re
from functools import cached_property
from typing import List, Optional, Sequence

import torch
from mmengine.logging import print_log
from skimage.segmentation import felzenszwalb
from torch import Tensor

from mmsampriors.checkpoints import local_file
from mmsampriors.files import refuse_remote, sha256_of
from mmsampriors.masks import (
    META_AUTOMATIC,
    SAM_AUTOMATIC,
    SAM_BUILDERS,
    ImageMasks,
    MaskEngine,
    build_store,
    checkpoint_id,
    shared_sam,
)
from mmsampriors.masks.optional_packages import check_extra
from mmsampriors.masks.sam.ops import fastest_exact_dtype
from mmsampriors.registry import MODELS, build_part


class MaskSource:
    """Where the masks of a training step come from.

    A source is no ``nn.Module``: SAM is a tool of training and no part of the model. A source that is ``stored`` has
    its masks on disk; while training they travel with the samples through the pipeline, and :meth:`segment` serves
    whole images in validation only.
    """

    stored = False
    #: What a user should know before training with these masks; logged as a warning.
    caution = ''

    def __deepcopy__(self, memo):
        return self

    def check(self):
        """Raises what can be known to be wrong without building or reading anything large."""

    def prepare(self):
        """Raises what can be known to be wrong before any image is segmented, such as a missing checkpoint."""

    def release(self):
        """Frees the device of what segments, until images are segmented again."""

    def provenance(self) -> dict:
        """What the masks depend on besides the image: plain values, for the cache."""
        raise NotImplementedError

    def segment(self, images: Tensor, paths: Sequence[str] = ()) -> List[ImageMasks]:
        """Masks of images.

        Args:
            images (Tensor): (N, 3, H, W), RGB in [0, 1].
            paths (Sequence[str]): The files of the N images, for sources that look masks up.

        Returns:
            list[ImageMasks]: N of them, on the device of ``images``.
        """
        raise NotImplementedError


class StoredMaskSource(MaskSource):
    """Masks that are on disk before training, and travel with the samples through the pipeline.

    Attributes:
        source (str): Which image the masks are of: ``'gt'``, ``'lq'`` or ``'restored'``.
        segmenter (MaskSource, optional): Computes masks that are missing; None where all must be there already.
        restorer (str, optional): Checkpoint of the student that restores for ``source='restored'``.
        kept_for_validation (dict[str, MaskStore]): Validation images whose masks are stored, and the store of each.
    """

    stored = True
    source = 'gt'
    segmenter: Optional[MaskSource] = None
    restorer: Optional[str] = None

    def __init__(self):
        self.kept_for_validation = {}

    @property
    def image_key(self) -> str:
        """The key of a sample that holds the image file whose masks these are."""
        return 'gt_path' if self.source == 'gt' else 'img_path'

    def store(self, data_root: str) -> dict:
        """Config of the mask store of a data set; see :func:`mmsampriors.masks.build_store`."""
        raise NotImplementedError

    def store_of_validation(self, data_root: str) -> dict:
        """Likewise, for a data set of validation."""
        return self.store(data_root)


@MODELS.register_module()
class NoMasks(MaskSource):
    """The empty set of masks for every image, for the ablation."""

    def provenance(self):
        return dict(type='NoMasks')

    def segment(self, images, paths=()):
        return [ImageMasks.empty(*images.shape[-2:], device=images.device) for _ in images]


@MODELS.register_module()
class FelzenszwalbMasks(MaskSource):
    """Regions of :func:`skimage.segmentation.felzenszwalb`, on the CPU, one image at a time.

    They follow colour and know no objects: no replacement for SAM.

    Args:
        scale (float): Larger means larger regions.
        sigma (float): Standard deviation of the smoothing before, in pixels.
        min_size (int): Smallest region in pixels.
    """

    caution = (
        "masks are Felzenszwalb's segments, which know no objects: fine to try things out. For a real run take SAM, "
        "e.g. model.spd.masks.segmenter=dict(type='SAMMasks', model_type='vit_h')"
    )

    def __init__(self, scale: float = 100.0, sigma: float = 0.8, min_size: int = 32):
        if not (scale > 0 and sigma >= 0 and min_size >= 1):
            raise ValueError(
                f'scale must be greater than 0, sigma at least 0 and min_size at least 1, found {scale}, {sigma} and '
                f'{min_size}'
            )
        self.settings = dict(scale=scale, sigma=sigma, min_size=min_size)

    def provenance(self):
        return dict(type='FelzenszwalbMasks', **self.settings)

    def segment(self, images, paths=()):
        arrays = images.clamp(0, 1).permute(0, 2, 3, 1).cpu().double().numpy()
        maps = (torch.from_numpy(felzenszwalb(array, **self.settings)) for array in arrays)
        return [ImageMasks.from_label_map(labels).to(images.device) for labels in maps]


# Arguments of MaskEngine that say how masks are computed and not which.
NOT_IN_PROVENANCE = ('sam', 'compile', 'images_per_batch', 'max_bytes')


@MODELS.register_module()
class SAMMasks(MaskSource):
    """ "Segment everything" by a SAM, through this project's batched engine.

    Args:
        model_type (str): ``vit_h``, ``vit_l`` or ``vit_b``; ``sam2.1_l``, ``sam2.1_b+``, ``sam2.1_s`` or ``sam2.1_t``;
            ``hq_vit_h``, ``hq_vit_l``, ``hq_vit_b`` or ``hq_vit_tiny``; ``mobile_sam``; one that
            :func:`mmsampriors.masks.register_sam` made known; or ``tiny``, the small one that travels with the package
            and is no replacement for Meta's. All but the first three and the last are extras of this package.
        checkpoint (str, optional): A local file, or a URL. Defaults to None: the official one, downloaded once, or the
            embedded weights.
        engine (dict, optional): Arguments of :class:`mmsampriors.masks.MaskEngine`; ``dtype`` by its name. Those that
            are not named have the engine's defaults, the thresholds and points those that suit the SAM; but ``dtype``
            is bfloat16 on a GPU that computes in it, and float32 elsewhere.
    """

    def __init__(self, model_type: str = 'vit_h', checkpoint: Optional[str] = None, engine: Optional[dict] = None):
        self.model_type, self.checkpoint = model_type, checkpoint
        self.engine_cfg = {**SAM_AUTOMATIC.get(model_type, META_AUTOMATIC), **(engine or {})}
        known = inspect.signature(MaskEngine).parameters
        unknown = sorted(set(self.engine_cfg) - (set(known) - {'sam'}))
        if unknown:
            raise ValueError(
                f'spd.masks.engine has unknown keys {unknown}; MaskEngine takes {sorted(set(known) - {"sam"})}'
            )
        self._engine, self._released = None, False

    @property
    def caution(self):
        return (
            (
                "masks are those of the SAM tiny, which is no replacement for Meta's SAM: for a real run take "
                "model_type='vit_h'"
            )
            if self.model_type == 'tiny'
            else ''
        )

    def check(self):
        if self.model_type not in SAM_BUILDERS:
            raise ValueError(f'model_type of SAMMasks must be one of {sorted(SAM_BUILDERS)}, found {self.model_type!r}')
        check_extra(self.model_type)
        if self.checkpoint is not None and '://' not in self.checkpoint and not osp.exists(self.checkpoint):
            raise FileNotFoundError(
                f'no SAM checkpoint at {self.checkpoint}: give the path of a local file for {self.model_type} in '
                'checkpoint (model.spd.masks.segmenter.checkpoint where masks are cached)'
            )

    def prepare(self):
        """Builds the SAM, once for all who ask for it."""
        if self._engine is None:
            settings = dict(self.engine_cfg)
            if isinstance(settings.get('dtype'), str):
                settings['dtype'] = getattr(torch, settings['dtype'])
            self._engine = MaskEngine(shared_sam(self.model_type, self.checkpoint), **settings)

    def provenance(self):
        # Defaults too: another version of the engine may have others.
        defaults = {name: parameter.default for name, parameter in inspect.signature(MaskEngine).parameters.items()}
        settings = {
            name: str(value)
            for name, value in {**defaults, 'dtype': 'by device', **self.engine_cfg}.items()
            if name not in NOT_IN_PROVENANCE
        }
        checkpoint = checkpoint_id(self.model_type, self.checkpoint)
        return dict(type='SAMMasks', model_type=self.model_type, checkpoint=checkpoint, engine=settings)

    def release(self):
        """Moves the SAM to the host; the next images bring it back."""
        if self._engine is None or self._engine.sam.device.type == 'cpu':
            return
        sam = self._engine.sam
        device, megabytes = sam.device, sum(value.nbytes for value in sam.state_dict().values()) / 2**20
        self._engine.release()
        if device.type == 'cuda':
            torch.cuda.empty_cache()
        if not self._released:
            print_log(f'{self.model_type} left {device}, which has {megabytes:.0f} MiB more for training', 'current')
        self._released = True

    def segment(self, images, paths=()):
        self.prepare()
        self._engine.sam.to(images.device)
        if 'dtype' not in self.engine_cfg:
            self._engine.dtype = fastest_exact_dtype(images.device)
        return self._engine.generate(images)


@MODELS.register_module()
class CachedMasks(StoredMaskSource):
    """Masks that a segmenter computes once an image, before training.

    So are those of the validation images that hooks look at (``kept_for_validation``). On any other image of validation
    the segmenter runs, on the restored one.

    Args:
        segmenter (dict): Config of a mask source that segments, such as ``SAMMasks``.
        source (str): What is segmented: ``'gt'``, the ground truth, which gives the best masks and needs no restorer;
            ``'lq'``; or ``'restored'``, the restored image of ``restorer`` [ours].
        cache_dir (str): Folder of the masks, for one data set; made where it is absent.
        restorer (str, optional): Checkpoint of the student that restores for ``source='restored'``.
    """

    SOURCES = ('gt', 'lq', 'restored')

    def __init__(
        self, segmenter: dict, source: str = 'gt', cache_dir: str = 'data/spd_masks', restorer: Optional[str] = None
    ):
        super().__init__()
        if source not in self.SOURCES:
            raise ValueError(f'spd.masks.source must be one of {self.SOURCES}, found {source!r}')
        if (source == 'restored') != (restorer is not None):
            raise ValueError(
                "spd.masks.restorer, a checkpoint, goes with spd.masks.source='restored' and with no other; "
                f'found source={source!r}, restorer={restorer!r}'
            )
        refuse_remote(cache_dir, 'spd.masks.cache_dir')
        self.segmenter = build_part(MODELS, segmenter)
        if self.segmenter.stored:
            raise ValueError(f'spd.masks.segmenter must segment images, and {segmenter["type"]} keeps masks itself')
        self.source, self.cache_dir, self.restorer = source, cache_dir, restorer

    @property
    def caution(self):
        return self.segmenter.caution

    def check(self):
        self.segmenter.check()
        if self.restorer and '://' not in self.restorer and not osp.isfile(self.restorer):
            raise FileNotFoundError(f'model.spd.masks.restorer: there is no checkpoint {self.restorer}')

    @cached_property
    def _made_with(self):
        # Hashes checkpoints of gigabytes: once is enough.
        restorer = sha256_of(local_file(self.restorer)) if self.restorer else None
        return dict(source=self.source, segmenter=self.segmenter.provenance(), restorer=restorer)

    def provenance(self):
        return self._made_with

    def store(self, data_root: str) -> dict:
        return dict(type='MaskCache', cache_dir=self.cache_dir, settings=self.provenance(), data_root=data_root)

    def store_of_validation(self, data_root: str) -> dict:
        """Config of the mask store of a data set of validation: a folder of its own below ``cache_dir``."""
        folder = re.sub(r'[^\w.-]+', '_', str(data_root or '')).strip('_') or 'data'
        return {**self.store(data_root), 'cache_dir': osp.join(self.cache_dir, 'validation', folder)}

    def release(self):
        self.segmenter.release()

    def segment(self, images, paths=()):
        return self.segmenter.segment(images, paths)


class FolderMasks(StoredMaskSource):
    """Masks from a folder of files that are there already, one by each image's name."""

    #: The mask store that reads them, and its arguments.
    store_type = ''
    arguments = {}

    def provenance(self):
        return dict(type=type(self).__name__, **self.arguments)

    def check(self):
        refuse_remote(self.arguments['folder'], 'model.spd.masks.folder')
        if not osp.isdir(self.arguments['folder']):
            raise FileNotFoundError(f'model.spd.masks.folder: there is no folder {self.arguments["folder"]}')

    def prepare(self):
        build_store(self.store(''))

    def store(self, data_root: str) -> dict:
        return dict(type=self.store_type, **self.arguments)

    def segment(self, images, paths=()):
        """The masks of whole images, for validation; ``paths`` are their files."""
        if len(paths) != len(images):
            raise ValueError(
                f'{type(self).__name__} finds masks by the names of the images: expected {len(images)} paths, found '
                f'{len(paths)} (img_path is missing in the samples)'
            )
        store = build_store(self.store(''))
        return [store.load(path).to(images.device) for path in paths]


@MODELS.register_module()
class LabelMapMasks(FolderMasks):
    """Masks from a folder of label maps, one by each image's name: human segments, or another tool's.

    Args:
        folder (str): Holds ``NAME.png`` for an image ``NAME.*``, of 8 or 16 bits; each value is a region. Where images
            of several folders have one name, ``FOLDER/NAME.png``; see :class:`mmsampriors.masks.MasksByName`.
        ext (str): Their suffix.
    """

    store_type = 'LabelMaps'

    def __init__(self, folder: str, ext: str = '.png'):
        super().__init__()
        self.arguments = dict(folder=folder, ext=ext)


@MODELS.register_module()
class CocoRLEMasks(FolderMasks):
    """Masks from a folder of COCO run lengths, one file by each image's name, as SA-1B's are.

    Needs ``pycocotools``, an extra of this package.

    Args:
        folder (str): Holds ``NAME.json`` for an image ``NAME.*``, or ``FOLDER/NAME.json``; see
            :class:`mmsampriors.masks.CocoRLE`.
    """

    store_type = 'CocoRLE'

    def __init__(self, folder: str):
        super().__init__()
        self.arguments = dict(folder=folder)

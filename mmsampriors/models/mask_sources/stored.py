"""Masks that are on disk, and travel with the samples through the train pipeline (``MaskCacheHook``)."""

import os.path as osp
import re
from functools import cached_property
from typing import Optional

from mmsampriors.files import sha256_of
from mmsampriors.masks import build_store
from mmsampriors.registry import MODELS, build_part

from .base import MaskSource


@MODELS.register_module()
class CachedMasks(MaskSource):
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

    stored = True
    SOURCES = ('gt', 'lq', 'restored')

    def __init__(
        self, segmenter: dict, source: str = 'gt', cache_dir: str = 'data/spd_masks', restorer: Optional[str] = None
    ):
        if source not in self.SOURCES:
            raise ValueError(f'spd.masks.source must be one of {self.SOURCES}, found {source!r}')
        if (source == 'restored') != (restorer is not None):
            raise ValueError(
                "spd.masks.restorer, a checkpoint, goes with spd.masks.source='restored' and with no other; "
                f'found source={source!r}, restorer={restorer!r}'
            )
        self.segmenter = build_part(MODELS, segmenter)
        if self.segmenter.stored:
            raise ValueError(f'spd.masks.segmenter must segment images, and {segmenter["type"]} keeps masks itself')
        self.source, self.cache_dir, self.restorer = source, cache_dir, restorer
        #: Validation images whose masks are stored, and the store of each.
        self.kept_for_validation = {}

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
        restorer = sha256_of(self.restorer) if self.restorer else None
        return dict(source=self.source, segmenter=self.segmenter.provenance(), restorer=restorer)

    def provenance(self):
        return self._made_with

    def store(self, data_root: str) -> dict:
        """Config of the mask store of a data set; see :func:`mmsampriors.masks.build_store`."""
        return dict(type='MaskCache', cache_dir=self.cache_dir, settings=self.provenance(), data_root=data_root)

    def store_of_validation(self, data_root: str) -> dict:
        """Likewise, for a data set of validation: a folder of its own below ``cache_dir``."""
        folder = re.sub(r'[^\w.-]+', '_', str(data_root or '')).strip('_') or 'data'
        return {**self.store(data_root), 'cache_dir': osp.join(self.cache_dir, 'validation', folder)}

    def release(self):
        self.segmenter.release()

    def segment(self, images, paths=()):
        return self.segmenter.segment(images, paths)


class FolderMasks(MaskSource):
    """Masks from a folder of files that are there already, one by each image's name."""

    stored = True
    source = 'gt'
    #: The mask store that reads them, and its arguments.
    store_type = ''
    arguments = {}

    def provenance(self):
        return dict(type=type(self).__name__, **self.arguments)

    def check(self):
        if not osp.isdir(self.arguments['folder']):
            raise FileNotFoundError(f'model.spd.masks.folder: there is no folder {self.arguments["folder"]}')

    def prepare(self):
        build_store(self.store(''))

    def store(self, data_root: str) -> dict:
        """Config of the mask store; see :func:`mmsampriors.masks.build_store`."""
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
        folder (str): Holds ``NAME.png`` for an image ``NAME.*``, of 8 or 16 bits; each value is a region.
        ext (str): Their suffix.
    """

    store_type = 'LabelMaps'

    def __init__(self, folder: str, ext: str = '.png'):
        self.arguments = dict(folder=folder, ext=ext)


@MODELS.register_module()
class CocoRLEMasks(FolderMasks):
    """Masks from a folder of COCO run lengths, one file by each image's name, as SA-1B's are.

    Needs ``pycocotools``, an extra of this package.

    Args:
        folder (str): Holds ``NAME.json`` for an image ``NAME.*``; see :class:`mmsampriors.masks.CocoRLE`.
    """

    store_type = 'CocoRLE'

    def __init__(self, folder: str):
        self.arguments = dict(folder=folder)

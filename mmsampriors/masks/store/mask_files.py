"""Masks as files that other programs open: COCO run lengths or label maps, and pictures of them to look at."""

import io
import os
from pathlib import Path
from typing import Dict

from PIL import Image

from mmsampriors.files import PART, MadeFiles, check_writable, remove_abandoned, sha256_of
from mmsampriors.images import LONGEST, read_rgb, to_eight_bits

from ..image_masks import ImageMasks, draw_masks
from .cache import ImageFile
from .coco import coco_text
from .label_maps import label_map

TOOL = 'segment'  # in whose records the files are
PREVIEW_QUALITY = 90


class MaskFiles:
    """A folder of masks, one file of each kind an image, that :func:`.fill_cache` fills like a cache.

    A record of each file says what it was made from. What was made from another image or with other settings is made
    anew; what is not of this tool is never replaced.

    Args:
        folder (str | Path): The folder of masks.
        files (dict[str, dict]): Image file to kind to the file that is written, below the folder. Kinds are ``coco``,
            ``label_maps`` and ``preview``; the first one decides whether an image has its masks.
        settings (dict): JSON-able: the SAM, its checkpoint and the settings of automatic masks.
    """

    def __init__(self, folder, files: Dict[str, Dict[str, str]], settings: dict):
        self.folder, self.files, self.settings = Path(folder), files, settings
        self.made = MadeFiles(folder, TOOL)

    def entry_path(self, image_path) -> str:
        """A file that holds the masks of an image."""
        return os.fspath(self.folder / next(iter(self.files[image_path].values())))

    def check(self, image_path) -> bool:
        """Whether the files of the image as it is now are there, made with these settings."""
        if not os.path.exists(self.entry_path(image_path)) or not os.path.isfile(image_path):
            return False
        made_of = self._made_of(sha256_of(image_path))
        return all(self.made.is_done(name, **made_of) for name in self.files[image_path].values())

    def check_writable(self) -> None:
        """Makes the folder and writes to it.

        Raises:
            OSError: That cannot be done.
        """
        check_writable(self.folder / 'masks')

    def save(self, image: ImageFile, masks: ImageMasks) -> None:
        """Writes the files of an image.

        Args:
            image (ImageFile): The very bytes that the masks were computed from.
            masks (ImageMasks): The masks of the whole image.

        Raises:
            FileExistsError: There is a file that would be lost.
            OSError: They cannot be written.
        """
        masks = masks.to('cpu')
        for kind, name in self.files[image.path].items():
            self.made.write(name, ENCODERS[kind](image, masks), **self._made_of(image.fingerprint['sha256']))

    def sweep(self) -> None:
        """Deletes temporary files that killed processes left more than an hour ago."""
        remove_abandoned(self.folder.rglob(f'.*{PART}'))

    def _made_of(self, digest: str) -> dict:
        return dict(photograph=digest, settings=self.settings)


def _encoded(image: Image.Image, kind: str, **options) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def _preview(image: ImageFile, masks: ImageMasks) -> bytes:
    pixels = to_eight_bits(read_rgb(io.BytesIO(image.data)))
    drawn = Image.fromarray(draw_masks(pixels, masks))
    drawn.thumbnail((LONGEST['JPEG'], LONGEST['JPEG']))
    return _encoded(drawn, 'JPEG', quality=PREVIEW_QUALITY)


ENCODERS = {
    'coco': lambda image, masks: coco_text(masks, os.path.basename(image.path)),
    'label_maps': lambda image, masks: _encoded(Image.fromarray(label_map(masks)), 'PNG'),
    'preview': _preview,
}

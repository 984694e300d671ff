"""Masks as label maps, and how a folder's files of masks are found by the names of their images."""

import filecmp
import os
from pathlib import Path
from typing import Tuple

import numpy as np

from mmsampriors.images import open_image

from ..image_masks import ImageMasks
from ..run_length_masks import RunMasks
from .cache import MaskStore, MaskStoreError


class MasksByName(MaskStore):
    """A folder of files of masks, each found by the name of its image.

    The name counts with as many of the image's folders as the masks are kept in: the masks of ``gt/first/0001.png`` are
    ``first/0001.*`` of the folder, or, where that is absent, ``0001.*``. Two images never share a file, unless they are
    the same bytes.

    Args:
        folder (str | Path): Holds the files.
        ext (str): Their file name extension.

    Raises:
        MaskStoreError: There is no such folder.
    """

    def __init__(self, folder, ext: str):
        self.folder, self.ext = Path(folder), ext
        if not self.folder.is_dir():
            raise MaskStoreError(f'there is no folder of masks {folder} (looked in {os.getcwd()})')
        self._found = {}
        # Name to the image that is found by it, and to one that is found by this name and folders before it.
        self._taken, self._longer = {}, {}

    def path_of(self, image_path) -> Path:
        """The file with the masks of an image; it may be absent.

        Raises:
            MaskStoreError: Another image was found by the same name.
        """
        image_path = os.path.abspath(image_path)
        if image_path not in self._found:
            path, name, shorter = self._find(image_path)
            if not path.is_file():
                return path
            self._take(image_path, path, name, shorter)
            self._found[image_path] = path
        return self._found[image_path]

    def _find(self, image_path: str) -> tuple:
        """The file, the name that it was found by, and what remains of that name without its first folders."""
        parts = Path(image_path).with_suffix('').parts[1:]
        names = ['/'.join(parts[start:]) for start in range(len(parts))]
        paths = [self.folder / f'{name}{self.ext}' for name in names]
        at = next((place for place, path in enumerate(paths) if path.is_file()), len(names) - 1)
        return paths[at], names[at], names[at + 1 :]

    def _take(self, image_path, path, name, shorter):
        others = [self._taken.get(name), self._longer.get(name), *map(self._taken.get, shorter)]
        for other in filter(None, others):
            if not _same_bytes(image_path, other):
                raise MaskStoreError(
                    f'{image_path} and {other} would share the masks {path}: keep the masks in the folders of the '
                    f'images, such as {self._in_folders(image_path)} and {self._in_folders(other)}'
                )
        self._taken.setdefault(name, image_path)
        for one in shorter:
            self._longer.setdefault(one, image_path)

    def _in_folders(self, image_path) -> Path:
        path = Path(image_path)
        return self.folder / path.parent.name / f'{path.stem}{self.ext}'


class LabelMaps(MasksByName):
    """A folder of label maps: one mask a label.

    Args:
        folder (str | Path): Holds one 8- or 16-bit image a photograph, of the photograph's size and name.
        ext (str): Their file name extension. Defaults to '.png'.
    """

    def __init__(self, folder, ext: str = '.png'):
        super().__init__(folder, ext)

    def size_of(self, image_path) -> Tuple[int, int]:
        """(H, W) of an image's label map.

        Raises:
            MaskStoreError: As for :meth:`load`.
        """
        return self.load(image_path).size

    def load(self, image_path) -> RunMasks:
        path = self.path_of(image_path)
        try:
            if not path.is_file():  # a named pipe would wait for somebody who writes
                raise FileNotFoundError
            with open_image(path) as image:
                labels = np.asarray(image)
        except FileNotFoundError:
            raise MaskStoreError(f'no label map of {image_path}: {path} is absent') from None
        except (OSError, SyntaxError, ValueError) as error:
            raise MaskStoreError(f'{path} cannot be read as a label map: {error}') from None
        if labels.ndim != 2:
            raise MaskStoreError(f'{path} must be a label map with one channel, found {labels.shape[2]} channels')
        if labels.dtype.kind == 'f':
            raise MaskStoreError(f'{path} must be a label map of whole numbers, found {labels.dtype}')
        return RunMasks.from_label_map(labels)


def label_map(masks: ImageMasks) -> np.ndarray:
    """(H, W), uint8 or uint16: 0 where no mask is, or else the number from 1 of the smallest mask there."""
    labels = np.zeros(masks.size, np.uint8 if len(masks) < 2**8 else np.uint16)
    if len(masks) >= 2**16:
        raise ValueError(f'a label map has at most {2**16 - 1} masks, found {len(masks)}: write run lengths')
    for number, mask in enumerate(masks.bitmaps.numpy(), 1):  # the largest first
        labels[mask] = number
    return labels


def _same_bytes(first, second) -> bool:
    return Path(first).is_file() and Path(second).is_file() and filecmp.cmp(first, second, shallow=False)

"""Restoring a photograph with a student, or with its refiner."""

import importlib.util
from pathlib import Path
from typing import Any, Callable, Optional, Union

import numpy as np
from PIL import Image

from mmsampriors.files import HASH_KEY, refuse_other_hash
from mmsampriors.images import LUMA, Photograph, enlarged, photograph_of, read_photograph, to_type, to_unit

from .networks import Network, OnnxNetwork
from .plain_config import read_plain_config
from .students import graph_of_packaged, packaged_students, weights_of_packaged
from .tiles import SMALLEST_TILE, halved, is_out_of_memory, run_in_tiles, tile_for

OVERLAP = 32


class Restorer:
    """A trained network and how it goes about large images.

    Args:
        student (str | Path, optional): ``student.pth`` or ``student.safetensors`` with ``student.py`` beside it, which
            is read and not run, or ``student.onnx``, for which neither torch nor mmagic is imported, or the name of a
            student of the package, such as 'noise', which runs on ONNX Runtime where that is installed. Weights of a
            network's authors without a config beside them, which the library spandrel recognizes. Or a config of
            mmagic, ``mmagic::FOLDER/CONFIG.py``, with the weights that mmagic names for it.
        config (str | Path, optional): Instead of ``student``, a config of mmagic or of this package. It is run.
        checkpoint (str | Path, optional): Its weights, of training or exported.
        device (str, optional): Such as 'cuda:1'. Defaults to CUDA where there is one, or else the CPU; for ONNX to the
            CPU.
        tile (int | str): Side of the tiles in pixels; 'auto': as large as memory allows, the whole image where it
            fits; 'off': always the whole image.
        overlap (int): Pixels that neighbouring tiles share at least.
        amp (bool): Half precision: float16 on CUDA, bfloat16 on the CPU. Not for ONNX.
        allow_imports (bool): Whether the modules are imported that the config of ``student`` names. Their code runs.

    Attributes:
        network (Network): What restores a tile.
        report (callable, optional): Gets messages for people, such as a tile that did not fit.

    Raises:
        FileNotFoundError: A file is missing.
        ValueError: A file cannot be read, or arguments contradict each other.
    """

    def __init__(
        self,
        student: Union[str, Path, None] = None,
        *,
        config: Union[str, Path, None] = None,
        checkpoint: Union[str, Path, None] = None,
        device: Optional[str] = None,
        tile: Union[int, str] = 'auto',
        overlap: int = OVERLAP,
        amp: bool = False,
        allow_imports: bool = False,
    ):
        if tile not in ('auto', 'off') and not (isinstance(tile, int) and tile >= SMALLEST_TILE):
            raise ValueError(f"tile must be 'auto', 'off' or at least {SMALLEST_TILE} pixels, found {tile!r}")
        if not isinstance(overlap, int) or overlap < 0 or isinstance(tile, int) and overlap > tile // 2:
            raise ValueError(f'overlap must be from 0 to half the tile, found {overlap} for tile={tile}')
        self.network = _network(student, config, checkpoint, device, amp, allow_imports)
        self.tile, self.overlap = tile, overlap
        self.report: Optional[Callable[[str], None]] = None
        self._tiled = False
        self._fitting: Optional[int] = None  # the tile that was found to fit where a larger one did not

    def restore(self, images: Any) -> Any:
        """Restores one image, or each of several.

        Args:
            images: A path (str or Path), a Pillow image, an array, or a list of any of them. Arrays are (H, W), gray,
                (H, W, 3), RGB, (H, W, 4), RGB and alpha, or (N, H, W, C), uint8, uint16 or float in [0, 1].

        Returns:
            What was given: an array for an array, of its type, a Pillow image for a Pillow image, a list for a list.
            For a path an array, (H, W) or (H, W, C), upright. Height and width are ``network.scale`` times those of
            the image. Alpha is kept, and enlarged by bicubic interpolation.

        Raises:
            PhotographError: A file cannot be read.
            ValueError: An array has another shape or type.
        """
        if isinstance(images, (list, tuple)):
            return [self.restore(image) for image in images]
        if isinstance(images, np.ndarray) and images.ndim == 4:
            if not len(images):
                return images.repeat(self.network.scale, axis=1).repeat(self.network.scale, axis=2)
            return np.stack([self.restore(image) for image in images])
        if isinstance(images, np.ndarray):
            images = images.astype(images.dtype.newbyteorder('='), copy=False)
            _check_array(images)
            alpha = images[..., 3:] if images.shape[2:] == (4,) else None
            restored = self.restore_pixels(images if alpha is None else images[..., :3])
            return (
                restored if alpha is None else np.concatenate([restored, enlarged(alpha, self.network.scale)], axis=2)
            )
        if isinstance(images, Image.Image):
            return _pillow_of(self.restore_photograph(photograph_of(images)))
        if not isinstance(images, (str, Path)):
            raise ValueError(
                f'expected a path, a Pillow image, an array, or a list of them, found {type(images).__name__}'
            )
        restored = self.restore_photograph(read_photograph(images))
        if restored.alpha is None:
            return restored.pixels
        pixels = restored.pixels if restored.pixels.ndim == 3 else np.stack([restored.pixels] * 3, axis=2)
        return np.concatenate([pixels, restored.alpha[..., None]], axis=2)

    def restore_photograph(
        self, photograph: Photograph, progress: Optional[Callable[[float], None]] = None
    ) -> Photograph:
        """Restores what was read from a file; alpha, EXIF data and colour profile stay.

        Args:
            photograph (Photograph): As read.
            progress (callable, optional): Called after each tile with the share of the image that it was.
        """
        restored = photograph.with_pixels(self.restore_pixels(photograph.pixels, progress))
        if photograph.pixels.ndim != restored.pixels.ndim:
            restored.notes.append('the network is gray: converted to gray')
        return restored

    def restore_pixels(self, pixels: np.ndarray, progress: Optional[Callable[[float], None]] = None) -> np.ndarray:
        """Restores pixels.

        Args:
            pixels (np.ndarray): (H, W) or (H, W, 3), RGB; uint8, uint16 or float in [0, 1].
            progress (callable, optional): As for :meth:`restore_photograph`.

        Returns:
            np.ndarray: Of the same type, ``network.scale`` times as high and wide; (H, W) where the image or the
            network is gray. An image that is gray goes through a network for colour as three equal channels, and their
            luma comes back.
        """
        gray = pixels.ndim == 2
        run = self._run_gray if gray or self.network.channels == 1 else self._run_colour
        restored = self._in_tiles(run, pixels.reshape(*pixels.shape[:2], -1), progress)
        return restored[..., 0] if run == self._run_gray else restored

    def _run_colour(self, pixels):
        return self.network.restore_tile(to_unit(pixels))

    def _run_gray(self, pixels):
        """Gives one channel; a colour image goes in as its luma, rounded to its own type as a loader of files does."""
        unit = to_unit(pixels)
        if unit.shape[2] == 3:
            unit = to_unit(to_type((unit @ np.float32(LUMA))[..., None], pixels.dtype))
        if self.network.channels == 1:
            return self.network.restore_tile(unit)
        return (self.network.restore_tile(np.repeat(unit, 3, axis=2)) @ np.float32(LUMA))[..., None]

    def _in_tiles(self, run, pixels, progress):
        """Halves the tile and starts again where memory runs out; ``progress`` then gets nothing twice."""
        tile, reported = self._tile_of(pixels.shape[:2]), 0.0
        while True:
            if tile < max(pixels.shape[:2]) and self.network.tile_note and not self._tiled:
                self._tiled = True
                self._report(self.network.tile_note)
            if tile < max(pixels.shape[:2]) and self.overlap > tile // 2:
                self._report(f'tiles of {tile} pixels overlap by half, not by {self.overlap} pixels: memory is short')
            done = 0.0

            def add(share):
                nonlocal done, reported
                done += share
                if progress is not None and done > reported:
                    progress(done - reported)
                    reported = done

            try:
                return run_in_tiles(run, pixels, tile, self.overlap, add, self.network.scale)
            except Exception as error:
                if not is_out_of_memory(error) or self.tile == 'off':
                    raise
            tile = self._fitting = halved(min(tile, max(pixels.shape[:2])))
            self._report(f'out of memory: going on with tiles of {tile} pixels')

    def _report(self, text):
        if self.report is not None:
            self.report(text)

    def _tile_of(self, size):
        if self.tile == 'off':
            return max(size)
        if self.tile != 'auto':
            return min(self.tile, self._fitting or self.tile)
        network = self.network
        tile = tile_for(size, network.bytes_per_pixel, network.free_bytes(), network.most_bytes)
        return min(tile, self._fitting or tile)


def runs_on_onnx(student: Union[str, Path, None], device: Optional[str] = None, amp: bool = False) -> bool:
    """Whether :class:`Restorer` takes ONNX Runtime, which is imported in a tenth of the time of torch and mmagic."""
    if student in packaged_students():
        return device in (None, 'cpu') and not amp and importlib.util.find_spec('onnxruntime') is not None
    return student is not None and Path(student).suffix == '.onnx'


def _network(student, config, checkpoint, device, amp, allow_imports) -> Network:
    for name, given in dict(student=student, config=config, checkpoint=checkpoint).items():
        if not isinstance(given, (str, Path, type(None))):
            raise ValueError(f'{name} must be the path of a file, found {type(given).__name__}')
    if (student is None) == (config is None) or (config is None) != (checkpoint is None):
        raise ValueError('name either a student, or a config and its checkpoint')
    if student is not None and Path(student).suffix == '.onnx':
        if amp:
            raise ValueError('an ONNX file has the precision that it was exported with: export it with --fp16')
        return OnnxNetwork(student, device)
    if student in packaged_students():
        with_onnx, graph = runs_on_onnx(student, device, amp), graph_of_packaged(student)
        student = weights_of_packaged(student)
        if with_onnx:
            refuse_other_hash(student, read_plain_config(student.with_suffix('.py')).get(HASH_KEY))
            return OnnxNetwork(graph, weights=student)
    of_mmagic = str(student).startswith('mmagic::')
    if student is not None and not of_mmagic and Path(student).suffix not in ('.pth', '.safetensors'):
        raise ValueError(
            f'a student is a file *.pth, *.safetensors or *.onnx, mmagic::FOLDER/CONFIG.py, or one of the package: '
            f'{", ".join(packaged_students())}; found {student}'
        )
    # Here and not above: torch and mmagic take seconds.
    from .torch_network import SpandrelNetwork, TorchNetwork, config_of, exported_config, mmagic_student

    if of_mmagic:
        return TorchNetwork(*mmagic_student(student), device, amp)
    if student is not None and not Path(student).is_file():
        raise FileNotFoundError(f'there is no student {student} (looked in {Path.cwd()})')
    if student is not None and not Path(student).with_suffix('.py').is_file():
        return SpandrelNetwork(student, device, amp)
    if student is not None:
        return TorchNetwork(exported_config(student, allow_imports), student, device, amp)
    return TorchNetwork(config_of(config), checkpoint, device, amp)


def _check_array(array):
    if array.ndim not in (2, 3) or array.ndim == 3 and array.shape[2] not in (3, 4) or 0 in array.shape:
        raise ValueError(f'expected an image of the shape (H, W), (H, W, 3) or (H, W, 4), found {array.shape}')
    if array.dtype not in (np.uint8, np.uint16) and array.dtype.kind != 'f':
        raise ValueError(f'expected pixels of the type uint8, uint16 or float, found {array.dtype}')
    if array.dtype.kind == 'f' and not (array.min() >= 0 and array.max() <= 1):
        raise ValueError(f'floats must be in [0, 1], found {array.min()} to {array.max()}')


def _pillow_of(photograph):
    pixels = photograph.pixels
    if photograph.alpha is not None:
        pixels = np.concatenate([pixels.reshape(*pixels.shape[:2], -1), photograph.alpha[..., None]], axis=2)
    return Image.fromarray(pixels)

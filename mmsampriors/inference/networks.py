"""What restores tiles: any network, and those in ONNX files. Imports neither torch nor mmagic."""

import json
from abc import ABC, abstractmethod
from pathlib import Path
from typing import List

import numpy as np

from mmsampriors.files import sha256_of

from .tiles import MOST_ON_CPU, free_on_cpu

#: Sides below this are made larger by repeating the border: networks cannot mirror less than they pad.
SMALLEST_SIDE = 16


class NotFiniteError(ValueError):
    """A network gave values that are no image."""


def finite(images: np.ndarray) -> np.ndarray:
    """The images as they are.

    Raises:
        NotFiniteError: Some of their values are not finite.
    """
    if not np.isfinite(images).all():
        raise NotFiniteError(
            'the network gave values that are not finite (NaN or infinite): its weights are broken, or half precision '
            '(--amp, --fp16) is too coarse for them'
        )
    return images


class Network(ABC):
    """A network that restores images at their own size or at a multiple of it.

    Attributes:
        name (str): For people.
        identity (str): Changes with whatever changes its results.
        channels (int): Of its images: 3, RGB, or 1, gray.
        scale (int): How many times larger than the image what it restores is.
        bytes_per_pixel (float): Memory that it needs for each pixel of an image.
        most_bytes (int, optional): What it should take at most, even where more is free.
        notes (list[str]): What people should know before they use it.
        tile_note (str, optional): What they should know when tiles are used.
    """

    name: str
    identity: str
    channels: int
    scale = 1
    bytes_per_pixel: float
    most_bytes = None
    notes: List[str]
    tile_note = None

    @abstractmethod
    def free_bytes(self) -> int:
        """Memory that is free where it runs."""

    @abstractmethod
    def run(self, images: np.ndarray) -> np.ndarray:
        """Restores (N, channels, H, W), float32, in [0, 1]; what is not finite stays so.

        Returns:
            np.ndarray: (N, channels, scale * H, scale * W).
        """

    def restore_tile(self, pixels: np.ndarray) -> np.ndarray:
        """Restores one image or a part of one.

        Args:
            pixels (np.ndarray): (H, W, channels), float32, in [0, 1].

        Returns:
            np.ndarray: (scale * H, scale * W, channels), likewise.

        Raises:
            NotFiniteError: The network gave values that are not finite.
        """
        height, width = pixels.shape[:2]
        bottom, right = self.scale * height, self.scale * width
        missing = [max(0, SMALLEST_SIDE - side) for side in (height, width)]
        if any(missing):
            pixels = np.pad(pixels, ((0, missing[0]), (0, missing[1]), (0, 0)), mode='edge')
        images = np.ascontiguousarray(pixels.transpose(2, 0, 1)[None], dtype=np.float32)
        return finite(self.run(images))[0].transpose(1, 2, 0)[:bottom, :right].copy()


METADATA = 'mmsampriors'  # key of the file's metadata, JSON
#: What a file that does not say it has; the memory is that of a NAFNet of width 64.
ASSUMED = dict(bytes_per_pixel=4096, scale=1, tile_note=None)


class OnnxNetwork(Network):
    """Runs an ONNX file that tools/export_student.py wrote.

    Args:
        path (str): ``*.onnx``: takes RGB or gray images in [0, 1] of any size and gives them restored.
        device (str, optional): 'cpu' or 'cuda'. Defaults to the CPU.
        weights (str, optional): ``*.safetensors`` with the weights, for a file that holds none.

    Raises:
        ModuleNotFoundError: onnxruntime is not installed.
        ValueError: The file is no such model, or the device is not there.
    """

    def __init__(self, path, device=None, weights=None):
        try:
            import onnxruntime
        except ModuleNotFoundError:
            raise ModuleNotFoundError("ONNX files need onnxruntime: pip install 'mmsampriors[onnx]'") from None
        path = Path(path)
        if not path.is_file():
            raise FileNotFoundError(f'there is no {path}')
        provider = _provider(onnxruntime, device)
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4  # what fails raises; a text on the screen besides helps nobody
        # A tile that was larger than the following ones would keep its memory for good.
        options.enable_cpu_mem_arena = False
        # The session reads them where they are: they live as long as it does.
        self._weights = weights and _give_weights(options, onnxruntime, weights)
        try:
            self.session = onnxruntime.InferenceSession(str(path), options, providers=[provider])
        except Exception as error:
            raise ValueError(f'{path} cannot be loaded as an ONNX model ({error})') from None
        description = _description_of(self.session, path)
        if any(isinstance(side, int) for side in self.session.get_inputs()[0].shape[2:]):
            raise ValueError(f'{path} takes images of one size alone: to restore, export it without --size')
        self.name = f'{Path(weights or path).name} ({description["network"]})'
        self.identity = sha256_of(path) if weights is None else f'{sha256_of(path)} {sha256_of(weights)}'
        self.channels, self.scale = description['channels'], description['scale']
        self.bytes_per_pixel = description['bytes_per_pixel']
        self.most_bytes = MOST_ON_CPU
        self.notes, self.tile_note = [], description['tile_note']
        self._names = self.session.get_inputs()[0].name, self.session.get_outputs()[0].name

    def free_bytes(self) -> int:
        """Memory that is free on the CPU; with another device it is the best guess."""
        return free_on_cpu()

    def run(self, images: np.ndarray) -> np.ndarray:
        """Restores (N, channels, H, W), float32, in [0, 1]."""
        given, wanted = self._names
        restored = self.session.run([wanted], {given: images})[0]
        expected = (*images.shape[:2], *(side * self.scale for side in images.shape[2:]))
        if restored.shape != expected:
            raise ValueError(f'the ONNX file gives {restored.shape} for {images.shape}, expected {expected}')
        return restored


def _description_of(session, path) -> dict:
    """The metadata of an ONNX file; what is needed besides stands where it says nothing."""
    inputs, outputs = session.get_inputs(), session.get_outputs()
    text = session.get_modelmeta().custom_metadata_map.get(METADATA)
    if text is None or len(inputs) != 1 or len(outputs) != 1:
        raise ValueError(
            f'{path} was not written by tools/export_student.py: its metadata has no entry {METADATA!r}, so order '
            'and range of its channels are unknown. Export the student with --onnx'
        )
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = None
    found = {**ASSUMED, **found} if isinstance(found, dict) else {}
    for key, (expected, fits) in DESCRIBED.items():
        if not fits(found.get(key)):
            raise ValueError(
                f'the entry {METADATA!r} in the metadata of {path} was changed: expected {key} to be {expected}, found '
                f'{found.get(key)!r:.80}. Export the student again with --onnx'
            )
    shape = [*inputs[0].shape, None, None][:2]
    if inputs[0].type != 'tensor(float)' or len(inputs[0].shape) != 4 or shape[1] not in (found['channels'], None):
        raise ValueError(
            f'{path} takes {inputs[0].type} {inputs[0].shape}, expected float32 (N, {found["channels"]}, H, W), as its '
            'metadata says. Export the student again with --onnx'
        )
    return found


def _is_number(value):
    return isinstance(value, (int, float)) and not isinstance(value, bool)


#: What the metadata must say: key to what is expected, and what says so.
DESCRIBED = dict(
    network=('a name', lambda value: isinstance(value, str)),
    channels=('1 or 3', lambda value: type(value) is int and value in (1, 3)),
    bytes_per_pixel=('from 1 to 10 million', lambda value: _is_number(value) and 1 <= value <= 1e7),
    scale=('from 1 to 16', lambda value: type(value) is int and 1 <= value <= 16),
    tile_note=('a text or nothing', lambda value: value is None or isinstance(value, str)),
)


def _give_weights(options, onnxruntime, path):
    from safetensors.numpy import load_file

    weights = load_file(path)
    values = [onnxruntime.OrtValue.ortvalue_from_numpy(weight) for weight in weights.values()]
    options.add_external_initializers([f'student.{name}' for name in weights], values)
    return weights, values


def _provider(onnxruntime, device):
    kind, colon, index = (device or 'cpu').partition(':')
    wanted = dict(cpu='CPUExecutionProvider', cuda='CUDAExecutionProvider').get(kind)
    if wanted not in onnxruntime.get_available_providers() or colon and not index.isdecimal():
        raise ValueError(
            f'this onnxruntime has nothing for --device {device}: it has {onnxruntime.get_available_providers()}. For '
            'CUDA install onnxruntime-gpu'
        )
    return (wanted, {'device_id': int(index)}) if colon and kind == 'cuda' else wanted

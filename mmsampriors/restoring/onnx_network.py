"""A student in an ONNX file. Needs onnxruntime and numpy, and neither torch nor mmagic."""

import json
from pathlib import Path

import numpy as np

from mmsampriors.files import sha256_of

from .memory import MOST_ON_CPU, free_on_cpu
from .network import Network

METADATA = 'mmsampriors'  # key of the file's metadata, JSON
#: Where a file of others does not say what it needs: as a NAFNet of width 64.
ASSUMED_BYTES_PER_PIXEL = 4096


class OnnxNetwork(Network):
    """Runs an ONNX file that tools/export_student.py wrote.

    Args:
        path (str): ``*.onnx``: takes RGB or gray images in [0, 1] of any size and gives them restored.
        device (str, optional): 'cpu' or 'cuda'. Defaults to the CPU.

    Raises:
        ModuleNotFoundError: onnxruntime is not installed.
        ValueError: The file is no such model, or the device is not there.
    """

    def __init__(self, path, device=None):
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
        try:
            self.session = onnxruntime.InferenceSession(str(path), options, providers=[provider])
        except Exception as error:
            raise ValueError(f'{path} cannot be loaded as an ONNX model ({error})') from None
        inputs, outputs = self.session.get_inputs(), self.session.get_outputs()
        text = self.session.get_modelmeta().custom_metadata_map.get(METADATA)
        if text is None or len(inputs) != 1 or len(outputs) != 1:
            raise ValueError(
                f'{path} was not written by tools/export_student.py: its metadata has no entry {METADATA!r}, so order '
                'and range of its channels are unknown. Export the student with --onnx'
            )
        description = json.loads(text)
        self.name, self.identity = f'{path.name} ({description["network"]})', sha256_of(path)
        self.channels = description['channels']
        self.bytes_per_pixel = description.get('bytes_per_pixel', ASSUMED_BYTES_PER_PIXEL)
        self.most_bytes = MOST_ON_CPU
        self.notes, self.tile_note = [], description.get('tile_note')
        self._names = inputs[0].name, outputs[0].name

    def free_bytes(self) -> int:
        """Memory that is free on the CPU; with another device it is the best guess."""
        return free_on_cpu()

    def run(self, images: np.ndarray) -> np.ndarray:
        """Restores (N, channels, H, W), float32, in [0, 1]."""
        given, wanted = self._names
        return self.session.run([wanted], {given: images})[0]


def _provider(onnxruntime, device):
    wanted = dict(cpu='CPUExecutionProvider', cuda='CUDAExecutionProvider').get((device or 'cpu').split(':')[0])
    if wanted not in onnxruntime.get_available_providers():
        raise ValueError(
            f'this onnxruntime has nothing for --device {device}: it has {onnxruntime.get_available_providers()}. For '
            'CUDA install onnxruntime-gpu'
        )
    return (wanted, {'device_id': int(device.split(':')[1])}) if ':' in (device or '') else wanted

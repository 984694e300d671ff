"""A student as one ONNX file that takes photographs of any size, checked against PyTorch as soon as it is written."""

import contextlib
import copy
import inspect
import io
import json
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Dict, List, Optional, Tuple
from unittest import mock

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmsampriors.files import MadeFiles

OPSET = 17
INPUT, OUTPUT = 'image', 'restored'
METADATA = 'mmsampriors'  # the key under which restoring looks
TOLERANCE = 1e-4  # of values in [0, 1]
LEAST_HALF_PSNR = 40.0  # dB between float16 and float32, below which something is wrong and not merely rounded
#: Batch, height and width of the images that are compared: one image and several, multiples of everything and of
#: nothing, wide and tall.
SIZES = ((1, 128, 192), (1, 61, 77), (2, 72, 40), (1, 37, 130))
#: What an image is traced with; no network here treats that size in a way of its own.
TRACED = (1, 128, 192)
#: Multiples that an image is padded to in the file, until it gives what PyTorch gives: a trace keeps the branch that a
#: network took, and Restormer pads in a branch.
MULTIPLES = (1, 8, 16, 64)


@dataclass(frozen=True)
class OnnxReport:
    """What the check of a written file found.

    Args:
        difference (float): Largest absolute difference from PyTorch, of values in [0, 1].
        psnr (float): Between the two, in dB.
        sizes (int): How many images of different sizes were compared.
    """

    difference: float
    psnr: float
    sizes: int


class _Exported(nn.Module):
    """The student with padding by mirroring, as networks do it by themselves, and perhaps half precision inside."""

    def __init__(self, student, multiple, half):
        super().__init__()
        self.student, self.multiple, self.half_inside = copy.deepcopy(student), multiple, half
        if half:
            self.student.generator.half()

    def forward(self, images: Tensor) -> Tensor:
        height, width = images.shape[-2:]
        if self.multiple > 1:
            images = F.pad(images, (0, (-width) % self.multiple, 0, (-height) % self.multiple), mode='reflect')
        inputs = self.student.input_of(images)
        outputs = self.student.generator(inputs.half()).float() if self.half_inside else self.student.generator(inputs)
        return self.student.image_of(outputs, (height, width))


def write_onnx(student: nn.Module, path: str, description: Dict, half: bool = False, **shape) -> OnnxReport:
    """Writes the file of :func:`onnx_of`, whole or not at all.

    Args:
        student (Student): As there; likewise ``description``, ``half`` and ``shape``, its ``size`` and ``opset``.
        path (str): ``*.onnx``.

    Raises:
        FileExistsError: The file is there, and was not exported, or was changed since.
    """
    content, report = onnx_of(student, description, half, **shape)
    MadeFiles(Path(path).parent, 'export_student').write(Path(path).name, content)
    return report


@torch.no_grad()
def onnx_of(
    student: nn.Module,
    description: Dict,
    half: bool = False,
    size: Optional[Tuple[int, int]] = None,
    opset: int = OPSET,
) -> Tuple[bytes, OnnxReport]:
    """A student as the content of an ONNX file, if ONNX Runtime gives with it what PyTorch gives.

    The file takes ``image``, (N, C, H, W), float32, RGB or gray in [0, 1], and gives ``restored`` of the same kind,
    ``student.scale`` times as high and wide. Order of channels, range, normalization and padding are inside.

    Args:
        student (Student): On the CPU.
        description (dict): JSON-able; goes into the file's metadata beside what describes input and output.
        half (bool): float16 inside; input and output stay float32.
        size (tuple[int], optional): Height and width, where the file is for one image of one size alone.
        opset (int): Version of ONNX's operators.

    Raises:
        ModuleNotFoundError: onnx or onnxruntime is not installed.
        ValueError: The network cannot be exported, or the file gives something else than PyTorch.
    """
    try:
        import onnx
        import onnxruntime  # noqa: F401
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(f"exporting to ONNX needs {error.name}: pip install 'mmsampriors[onnx]'") from None
    kind, failures = type(student.generator).__name__, []
    sizes = [(1, *size)] if size else SIZES
    references = _references(student, sizes)
    for multiple in MULTIPLES:
        try:
            content = _traced(_Exported(student, multiple, half), student.channels, size, opset)
            model = onnx.load_model_from_string(content)
            _describe(model, {**description, **_interface(student, kind, half, size)})
            _fix_output(model, student, size)
            content = model.SerializeToString()
            report = _compare(content, references)
        except Exception as error:
            failures.append(f'padded to multiples of {multiple}: {_first_line(error)}')
            continue
        if half and report.psnr >= LEAST_HALF_PSNR or not half and report.difference <= TOLERANCE:
            return content, report
        failures.append(
            f'padded to multiples of {multiple}: differs by {report.difference:.1e} ({report.psnr:.1f} dB) from PyTorch'
        )
    wanted = f'at least {LEAST_HALF_PSNR:.0f} dB' if half else f'a difference of at most {TOLERANCE:.0e}'
    raise ValueError(f'{kind} cannot be exported to ONNX; expected {wanted}. Tried: {"; ".join(failures)}')


def _references(student, sizes) -> List[Tuple[np.ndarray, np.ndarray]]:
    """Images of several sizes, and what PyTorch makes of them."""
    random = np.random.default_rng(0)
    pairs = []
    for count, height, width in sizes:
        coarse = torch.from_numpy(random.uniform(0, 1, (count, student.channels, height // 8 + 1, width // 8 + 1)))
        smooth = F.interpolate(coarse, (height, width), mode='bicubic').numpy()
        image = (smooth + random.normal(0, 0.1, smooth.shape)).clip(0, 1).astype(np.float32)
        pairs.append((image, student(torch.from_numpy(image)).numpy()))
    return pairs


def _traced(module, channels, size, opset) -> bytes:
    """The file's content. The exporter by tracing: the other one takes half a minute for the smallest network."""
    buffer, axes = io.BytesIO(), {0: 'batch', 2: 'height', 3: 'width'}
    options = dict(dynamo=False) if 'dynamo' in inspect.signature(torch.onnx.export).parameters else {}
    with warnings.catch_warnings(), _any_batch():
        warnings.simplefilter('ignore')  # about branches that are kept: the comparison shows whether they matter
        torch.onnx.export(
            module.eval(),
            (torch.rand(TRACED[0], channels, *(size or TRACED[1:])),),
            buffer,
            input_names=[INPUT],
            output_names=[OUTPUT],
            dynamic_axes=None if size else {INPUT: axes, OUTPUT: axes},
            opset_version=opset,
            **options,
        )
    return buffer.getvalue()


@contextlib.contextmanager
def _any_batch():
    """mmagic's SwinIR and RRDBNet compute the number of images as a Python number, which a trace keeps."""
    from mmagic.models.editors.esrgan import rrdb_net
    from mmagic.models.editors.swinir import swinir_rstb

    def window_reverse(windows, window_size, H, W):
        windows = windows.view(-1, H // window_size, W // window_size, window_size, window_size, windows.shape[-1])
        return windows.permute(0, 1, 3, 2, 4, 5).reshape(-1, H, W, windows.shape[-1])

    with (
        mock.patch.object(swinir_rstb, 'window_reverse', window_reverse),
        mock.patch.object(rrdb_net, 'pixel_unshuffle', lambda images, scale: F.pixel_unshuffle(images, scale)),
    ):
        yield


def _interface(student, kind, half, size):
    colours = 'RGB' if student.channels == 3 else 'gray'
    shape = 'the same shape' if student.scale == 1 else f'{student.scale} times as high and wide'
    sizes = f'one image of {size[0]} by {size[1]} pixels' if size else 'any height and width of at least 16 pixels'
    return dict(
        network=kind,
        channels=student.channels,
        scale=student.scale,
        precision='float16' if half else 'float32',
        input=f'{INPUT}: (N, {student.channels}, H, W), float32, {colours} in [0, 1]; {sizes}',
        output=f'{OUTPUT}: {shape}, the same order and range; cut off to [0, 1]',
        inside='order of channels, range, normalization and padding of the network',
    )


def _fix_output(model, student, size):
    """Names the sizes of the output that are known; a trace makes symbols of them."""
    axes = model.graph.output[0].type.tensor_type.shape.dim
    known = {1: student.channels}
    if size:
        known.update({0: 1, 2: size[0] * student.scale, 3: size[1] * student.scale})
    for axis, length in known.items():
        axes[axis].dim_value = length


def _describe(model, description):
    model.producer_name = 'mmsampriors'
    model.doc_string = f'{description["network"]}. {description["input"]}. {description["output"]}.'
    entry = model.metadata_props.add()
    entry.key, entry.value = METADATA, json.dumps(description)


def _compare(content, references) -> OnnxReport:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # a size that fails is an exception
    session = onnxruntime.InferenceSession(content, options, providers=['CPUExecutionProvider'])
    differences, squares = [], []
    for image, expected in references:
        found = session.run([OUTPUT], {INPUT: image})[0]
        if found.shape != expected.shape:
            raise ValueError(f'gives {found.shape} for {image.shape}')
        if not np.isfinite(found).all():
            raise ValueError(f'gives values that are not finite for {image.shape}')
        differences.append(float(np.abs(found - expected).max()))
        squares.append(np.square(found.astype(np.float64) - expected).mean())
    mean = float(np.mean(squares))
    return OnnxReport(max(differences), float('inf') if mean == 0 else -10 * float(np.log10(mean)), len(references))


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0][:300] if str(error).strip() else type(error).__name__

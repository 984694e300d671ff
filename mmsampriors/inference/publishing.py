"""Publishing a student: bare weights and packages that other programs take, and its model card."""

import io
import json
import os.path as osp
import re
import zipfile
from typing import Dict, List, Optional

import torch
from safetensors.torch import save
from torch import nn

from mmsampriors.checks.config_reading import datasets_of
from mmsampriors.compat.upstream import base_names
from mmsampriors.engine.onnx_export import onnx_of
from mmsampriors.files import MadeFiles
from mmsampriors.reports import load_results

from .torch_network import TorchNetwork, recognize

TOOL = 'export_student'
TOLERANCE = 1e-5  # of values in [0, 1], between the student and what spandrel makes of its weights
ODD_SIZE = (61, 75)


def _write(path, content):
    MadeFiles(osp.dirname(path), TOOL).write(osp.basename(path), content)


def write_bare(student: nn.Module, path: str) -> str:
    """Writes the weights by the network's own names, as programs with spandrel (chaiNNer, ComfyUI) detect them.

    Args:
        student (Student): On the CPU.
        path (str): ``*.safetensors``.

    Returns:
        str: What was compared, and what people should know.

    Raises:
        ValueError: Other programs would run the network wrongly, for weights do not say what it takes.
    """
    fault = why_not_bare(student)
    if fault:
        raise ValueError(f'--keys bare: {fault}, which weights do not say: other programs would run it wrongly')
    weights = {name: value.contiguous() for name, value in student.generator.state_dict().items()}
    note = _compared(student, weights, path)
    if type(student.generator).__name__ == 'NAFNetLocal':
        # Windows are 1.5 times as large as the images of training, which are of 256 pixels by default.
        note += '. It loads as a plain NAFNet, and differs on images larger than its windows, 384 pixels by default'
    _write(path, save(weights))
    return note


def why_not_bare(student: nn.Module) -> Optional[str]:
    """What a network expects of its image other than RGB in [0, 1]; None where it expects nothing else."""
    if student.channels == 3 and student.order != 'rgb':
        return 'the network takes channels in the order BGR'
    image = torch.rand(1, student.channels, 64, 64)
    if not torch.allclose(student.input_of(image), image, atol=1e-6):
        return 'the network takes images of another range than [0, 1], or with their mean taken off'
    value_range = getattr(student.generator, 'img_range', 1.0)
    return None if value_range == 1 else f'the network has img_range={value_range}'


@torch.no_grad()
def _compared(student, weights, path) -> str:
    try:
        spandrel, recognized = recognize(weights, path)
    except ModuleNotFoundError:
        return "not compared: spandrel is not installed (pip install 'mmsampriors[spandrel]')"
    except ValueError:
        return 'spandrel does not know this network: only programs that have it can load the weights'
    image = torch.rand(1, student.channels, *ODD_SIZE, generator=torch.Generator().manual_seed(0))
    difference = float((recognized(image) - student(image)).abs().max())
    kind = type(recognized.generator).__name__
    if difference > TOLERANCE:
        raise ValueError(
            f'--keys bare: spandrel {spandrel.__version__} takes the weights for {kind} and gives something else: it '
            f'differs by {difference:.1e} of 1'
        )
    height, width = ODD_SIZE
    return (
        f'spandrel {spandrel.__version__} detects {kind}, and differs by {difference:.1e} at {height} by {width} pixels'
    )


#: Side of the tiles that darktable cuts, as its own NAFNet has it.
DARKTABLE_TILE = 768
IDENTIFIER = re.compile('[a-z0-9]+(-[a-z0-9]+)*')
#: What darktable reads of config.json, and the types that it takes.
DARKTABLE_KEYS = dict(
    id=str, name=str, description=str, task=str, arch=str, backend=str, version=str, type=str, tiling=bool,
    attributes=dict, model_card=dict,
)  # fmt: skip


def write_darktable(network: TorchNetwork, path: str, opset: int) -> str:
    """Writes a package that darktable from 5.6 on imports as a denoiser; see :func:`check_darktable`.

    Args:
        network (TorchNetwork): On the CPU.
        path (str): ``*.dtmodel``; the name becomes the package's id.
        opset (int): Of its ONNX file.

    Returns:
        str: What was compared.

    Raises:
        ValueError: It takes or gives no RGB image of one size, or as for :func:`onnx_of`.
    """
    student, kind = network.student, type(network.student.generator).__name__
    if student.channels != 3 or student.scale != 1:
        raise ValueError('--darktable: its denoisers take RGB images and keep their size; this network does not')
    identifier = re.sub('[^a-z0-9]+', '-', osp.splitext(osp.basename(path))[0].lower()).strip('-') or 'student'
    content, report = onnx_of(student, dict(bytes_per_pixel=network.bytes_per_pixel), opset=opset)
    config = dict(
        id=identifier,
        name=identifier.replace('-', ' '),
        description=f'{kind}, trained with mmsampriors',
        task='denoise',
        arch=kind.lower(),
        backend='onnx',
        version='1.0',
        type='single',
        tiling=True,
        attributes=dict(input_sizes=[DARKTABLE_TILE]),
        model_card=dict(
            long_description=f'{kind}, trained with mmsampriors', scope='single-image restoration', license='unknown'
        ),
    )
    package = io.BytesIO()
    with zipfile.ZipFile(package, 'w', zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(f'{identifier}/config.json', json.dumps(config, indent=4) + '\n')
        archive.writestr(f'{identifier}/model.onnx', content)
    check_darktable(package)
    _write(path, package.getvalue())
    return f'ONNX Runtime differs from PyTorch by at most {report.difference:.1e}; darktable itself was not run'


def check_darktable(package):
    """Refuses a package that is not as darktable's source and its own packages have it.

    Args:
        package (str | BinaryIO): ``*.dtmodel``.

    Raises:
        ValueError: It is not.
    """
    import onnx

    with zipfile.ZipFile(package) as archive:
        names = sorted(archive.namelist())
        folder = names[0].split('/')[0]
        if names != [f'{folder}/config.json', f'{folder}/model.onnx']:
            raise ValueError(f'expected ID/config.json and ID/model.onnx in the package, found {names}')
        config = json.loads(archive.read(names[0]))
        graph = onnx.load_model_from_string(archive.read(names[1])).graph
    wrong = [key for key, kind in DARKTABLE_KEYS.items() if not isinstance(config.get(key), kind)]
    if wrong or config['id'] != folder or not IDENTIFIER.fullmatch(folder) or config['backend'] != 'onnx':
        raise ValueError(f'config.json of {folder} is wrong: keys {wrong or "id, backend"}')
    for value in (*graph.input, *graph.output):
        tensor = value.type.tensor_type
        shape = [one.dim_param or one.dim_value for one in tensor.shape.dim]
        if tensor.elem_type != onnx.TensorProto.FLOAT or shape != ['batch', 3, 'height', 'width']:
            raise ValueError(f'{value.name} must be float32 of (batch, 3, height, width), found {shape}')


CARD = """---
license: unknown
library_name: mmagic
pipeline_tag: image-to-image
tags:
- image-restoration
- mmsampriors
- {tag}
---

# {title}

A {kind} that restores images ({channels}), trained with mmsampriors on mmagic. The run does not know the licence of
these weights: set `license` above by that of the training data.

## Files

{files}

## Training data

{data}

Config: {config}. Checkpoint: `{checkpoint}`.

## Metrics

{metrics}

## How to run

```bash
{command}
```

## Upload

This file is the front page of a model hub's repository. Nothing was uploaded. It is done by

```bash
hf upload USER/NAME FOLDER .
```
"""

RESTORE = 'python tools/restore.py PHOTOS {} --out restored'


def write_card(
    network: TorchNetwork,
    cfg: Dict,
    path: str,
    files: List[str],
    config: str,
    checkpoint: str,
    one_size: bool = False,
):
    """Writes a model card, Markdown with the metadata that model hubs read, from what config and run say.

    Args:
        network (TorchNetwork): The student.
        cfg (Config): That trained it.
        path (str): ``*.md``.
        files (list[str]): What was exported, relative to the card or not.
        config (str): Path of ``cfg``.
        checkpoint (str): What was exported.
        one_size (bool): Whether the ONNX file takes images of one size alone.
    """
    kind = type(network.student.generator).__name__
    text = CARD.format(
        tag=kind.lower(),
        title=osp.splitext(osp.basename(config))[0],
        kind=kind,
        channels='gray' if network.channels == 1 else 'RGB',
        files='\n'.join(f'- `{osp.basename(name)}`' for name in files),
        data=_data_of(cfg),
        config=_config_of(config),
        checkpoint=osp.basename(checkpoint),
        metrics=_metrics_of(osp.dirname(checkpoint)),
        command=_command_of([osp.basename(name) for name in files], osp.basename(config), one_size),
    )
    _write(path, text)


def _config_of(path) -> str:
    bases = ', '.join(f'`{name}`' for name in base_names(path))
    return f'`{osp.basename(path)}`' + (f', which inherits {bases}' if bases else '')


def _command_of(files, config, one_size) -> str:
    """What restores with the first file that needs nothing else."""
    weights = [name for name in files if name.endswith(('.pth', '.safetensors'))]
    onnx = [name for name in files if name.endswith('.onnx') and not one_size]
    known = weights if any(name.endswith('.py') for name in files) else onnx
    if known:
        return RESTORE.format(f'--student {known[0]}')
    if weights:  # bare
        return (
            "# pip install 'mmsampriors[spandrel]', for a network that spandrel knows:\n"
            f'{RESTORE.format(f"--student {weights[0]}")}\n# for another one, with the config:\n'
            f'{RESTORE.format(f"--config {config} --checkpoint {weights[0]}")}'
        )
    if any(name.endswith('.onnx') for name in files):
        return '# the ONNX file takes images of one size alone; its metadata say which'
    return '# import the package in the preferences of darktable 5.6 or later'


def _data_of(cfg) -> str:
    lines = [
        f'- {one.get("type", "dataset")}, `{one.get("data_root") or one.get("ann_file") or "?"}`'
        for one in datasets_of(cfg.get('train_dataloader'))
    ]
    return '\n'.join(dict.fromkeys(lines)) or 'The config names none.'


def _metrics_of(folder) -> str:
    try:
        results = load_results(folder)
    except (FileNotFoundError, ValueError):
        return 'Not measured: `tools/test.py` has left no `test_results.json` beside the checkpoint.'
    rows = [
        f'| {name} | {metric} | {value:.4f} |'
        for name, metrics in results.get('student', {}).items()
        for metric, value in metrics.items()
    ]
    return '\n'.join(['| test set | metric | value |', '| --- | --- | --- |', *rows])

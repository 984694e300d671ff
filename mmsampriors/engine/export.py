"""The exported student: weights and config that stock mmagic loads."""

import copy
import io
import os.path as osp
from hashlib import sha256
from keyword import iskeyword
from typing import Dict, List

import torch
from mmengine.config import Config
from safetensors.torch import save
from torch import Tensor

from mmsampriors.checks.config_check import in_order, trained_order
from mmsampriors.checks.config_reading import datasets_of
from mmsampriors.files import HASH_KEY, MadeFiles
from mmsampriors.registry import SCOPE, is_a

OWN_PARTS = ('refiner.', 'spf.', 'losses.', 'initial_student.')
#: The longest line of an exported config.
COLUMNS = 120
#: Where the pipeline of inference is looked for, in this order.
LOADERS = ('test_dataloader', 'val_dataloader')


def student_weights(state_dict: Dict[str, Tensor]) -> Dict[str, Tensor]:
    """The entries of a training checkpoint that belong to the stock model.

    Args:
        state_dict (dict[str, Tensor]): Of an SPDModel, or of a student already.
    """
    return {key: value for key, value in state_dict.items() if not key.startswith(OWN_PARTS)}


def stock_model(model: dict) -> dict:
    """The config of the stock mmagic model that an SPDModel config trains."""
    model = copy.deepcopy(model)
    model.pop('spd', None)
    model['type'] = 'BaseEditModel'
    return model


def student_config(cfg: Config) -> Config:
    """What inference of the student needs: the model with its data preprocessor, and a pipeline.

    Of this package it names nothing but a network that mmagic lacks. It loads images in the order of channels that the
    student was trained on, also where ``cfg`` validated on another.
    """
    imports = cfg.get('custom_imports') or dict(imports=[])
    names = imports['imports']
    names = [names] if isinstance(names, str) else names
    others = [name for name in names if name.split('.')[0] != SCOPE]
    pipeline = inference_pipeline(cfg)
    order = trained_order(cfg) if is_a(cfg.model, 'SPDModel') else None
    stock = dict(
        default_scope='mmagic',
        **({'custom_imports': {**imports, 'imports': others}} if others else {}),
        model=stock_model(cfg.model),
        **({'test_pipeline': in_order(pipeline, order) if order else pipeline} if pipeline else {}),
    )
    return Config(_without_scopes(Config(stock).to_dict()))


def inference_pipeline(cfg: Config) -> List[dict]:
    """The steps that prepare a degraded image, of the first test set or else of validation.

    Steps of the ground truth are left out. A set that degrades its ground truth gives its loading alone.
    """
    datasets = [dataset for key in LOADERS for dataset in datasets_of(cfg.get(key))]
    found = [dataset['pipeline'] for dataset in datasets if dataset.get('pipeline')] + [cfg.get('test_pipeline') or []]
    steps = [{**step} for step in found[0]]
    if any(step.get('key') == 'img' for step in steps):
        return [step for step in map(_without_gt, steps) if step]
    return [{**step, 'key': 'img'} for step in steps if step.get('key') == 'gt'][:1] + [dict(type='PackInputs')]


def _without_gt(step):
    """The step for the degraded image alone; None where it is for the ground truth alone."""
    keys = step.get('keys')
    if step.get('key') == 'gt' or keys in ('gt', ['gt']):
        return None
    return {**step, 'keys': [key for key in keys if key != 'gt']} if isinstance(keys, list) else step


def _without_scopes(node):
    """A config whose bare names mmagic finds; this package's, which have the prefix, are found in any scope."""
    if isinstance(node, (list, tuple)):
        return type(node)(map(_without_scopes, node))
    if not isinstance(node, dict):
        return node
    is_ours = node.get('_scope_') in (SCOPE, 'mmagic')
    return {key: _without_scopes(value) for key, value in node.items() if not (is_ours and key == '_scope_')}


def config_text(cfg: dict) -> str:
    """A config as a file of Python: an assignment for each key."""
    return ''.join(f'{key} = {_text(value, len(key) + 3)}\n' for key, value in cfg.items())


def _text(value, before: int = 0, indent: str = '') -> str:
    """A value as Python writes it; what does not fit into a line has one for each of its items."""
    if not value or not isinstance(value, (dict, list, tuple)):
        return repr(value)
    inner = f'{indent}    '
    if isinstance(value, dict) and all(map(_is_name, value)):
        items, ends = [f'{key}={_text(one, len(key) + 1, inner)}' for key, one in value.items()], ('dict(', ')')
    elif isinstance(value, dict):
        items, ends = [f'{key!r}: {_text(one, len(repr(key)) + 2, inner)}' for key, one in value.items()], '{}'
    else:
        items = [_text(one, 0, inner) for one in value]
        ends = '[]' if isinstance(value, list) else ('(', ',)' if len(value) == 1 else ')')
    line = f'{ends[0]}{", ".join(items)}{ends[1]}'
    if '\n' not in line and len(indent) + before + len(line) < COLUMNS:
        return line
    return f'{ends[0]}\n' + ''.join(f'{inner}{item},\n' for item in items) + f'{indent}{ends[1][-1]}'


def _is_name(key):
    return isinstance(key, str) and key.isidentifier() and not iskeyword(key)


def exported_files(path: str) -> List[str]:
    """What :func:`write_student` writes: the weights, and the config beside them."""
    return [path, f'{osp.splitext(path)[0]}.py']


def write_student(state_dict: Dict[str, Tensor], cfg: Config, path: str, tool: str = 'export_student'):
    """Writes the student's weights to ``path`` and its config beside them, with the suffix ``.py``.

    Args:
        state_dict (dict[str, Tensor]): Of an SPDModel.
        cfg (Config): The config that trained it.
        path (str): File to write, ``*.pth`` or ``*.safetensors``.
        tool (str): In whose records the files are; see :class:`mmsampriors.files.MadeFiles`.

    Raises:
        FileExistsError: A file is there that the tool did not write, or that was changed since, or weights of the
            other suffix that belong to another config.
        ValueError: The state dict holds no student.
    """
    weights = student_weights(state_dict)
    if not any(key.startswith('generator.') for key in weights):
        raise ValueError(
            f'the checkpoint holds no student: none of its {len(state_dict)} entries begins with generator.'
        )
    made = MadeFiles(osp.dirname(path), tool)
    weights_file, config_file = map(osp.basename, exported_files(path))
    made.refuse_changed([weights_file, config_file])
    content, config = _content_of(weights, path), student_config(cfg)
    _refuse_other_student(path, config)
    if path.endswith('.safetensors'):
        config[HASH_KEY] = sha256(content).hexdigest()
    made.write(weights_file, content)
    made.write(config_file, config_text(config.to_dict()))


def _refuse_other_student(path, config):
    """Weights of the other suffix have the same config file, which this student's would replace."""
    name, suffix = osp.splitext(path)
    other, config_file = name + ('.pth' if suffix == '.safetensors' else '.safetensors'), f'{name}.py'
    if not (osp.isfile(other) and osp.isfile(config_file)):
        return
    with open(config_file) as file:
        differs = {*file.read().splitlines()} ^ {*config_text(config.to_dict()).splitlines()}
    if any(not line.startswith(HASH_KEY) for line in differs):
        raise FileExistsError(
            f'{other} is another student, whose config {config_file} would be replaced: name another file'
        )


def _content_of(weights, path):
    if path.endswith('.safetensors'):
        return save({key: value.contiguous() for key, value in weights.items()})
    file = io.BytesIO()
    torch.save(dict(meta=dict(), state_dict=weights), file)
    return file.getvalue()

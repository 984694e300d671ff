"""The exported student: weights and config that stock mmagic loads."""

import copy
import os.path as osp
from typing import Dict

from mmengine.config import Config
from mmengine.fileio import get_file_backend
from mmengine.runner import save_checkpoint
from safetensors.torch import save
from torch import Tensor

from mmsampriors.files import write_whole
from mmsampriors.registry import SCOPE

OWN_PARTS = ('refiner.', 'spf.', 'distill.', 'sgr.', 'first_student.')
TRAINING_KEYS = (
    'spd',
    'spd_hooks',
    'pairs',
    'train_dataloader',
    'train_pipeline',
    'train_cfg',
    'optim_wrapper',
    'param_scheduler',
    'auto_scale_lr',
    'data_help',
    'load_from',
    'resume',
    'custom_hooks',
    'work_dir',
    'launcher',
)


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
    """What testing and inference of the student need: of this package nothing but a network that mmagic lacks."""
    stock = {key: value for key, value in cfg.to_dict().items() if key not in TRAINING_KEYS}
    stock['model'] = stock_model(stock['model'])
    imports = stock.pop('custom_imports', None) or dict(imports=[])
    others = [name for name in imports['imports'] if name.split('.')[0] != SCOPE]
    if others:
        stock['custom_imports'] = {**imports, 'imports': others}
    return Config(_in_scope_of_mmagic(stock))


def _in_scope_of_mmagic(node):
    """A config whose bare names mmagic finds; ours, which have the prefix, are found in any scope."""
    if isinstance(node, (list, tuple)):
        return type(node)(map(_in_scope_of_mmagic, node))
    if not isinstance(node, dict):
        return node
    node = {key: _in_scope_of_mmagic(value) for key, value in node.items()}
    return {**node, '_scope_': 'mmagic'} if node.get('_scope_') == SCOPE else node


def write_student(state_dict: Dict[str, Tensor], cfg: Config, path: str):
    """Writes the student's weights to ``path`` and its config beside them, with the suffix ``.py``.

    Args:
        state_dict (dict[str, Tensor]): Of an SPDModel.
        cfg (Config): The config that trained it.
        path (str): File to write, ``*.pth`` or ``*.safetensors``.

    Raises:
        ValueError: The state dict holds no student.
    """
    weights = student_weights(state_dict)
    if not any(key.startswith('generator.') for key in weights):
        raise ValueError(
            f'the checkpoint holds no student: none of its {len(state_dict)} entries begins with generator.'
        )
    if path.endswith('.safetensors'):
        write_whole(path, save({key: value.contiguous() for key, value in weights.items()}))
    else:
        save_checkpoint(dict(meta=dict(), state_dict=weights), path)
    text = student_config(cfg).pretty_text
    get_file_backend(path).put(text.encode(), osp.splitext(path)[0] + '.py')

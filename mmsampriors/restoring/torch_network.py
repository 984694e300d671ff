"""A student that PyTorch runs: of an export, or of a config and a checkpoint."""

import hashlib
import importlib
from pathlib import Path
from typing import Optional

import mmsampriors  # noqa: F401  (before mmagic, which it mends)

# isort: split
import numpy as np
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from torch import nn

from mmsampriors.checkpoints import read_weights
from mmsampriors.files import sha256_of
from mmsampriors.models.student import build_student

from .memory import MOST_ON_CPU, free_on_cpu
from .network import Network
from .peak_memory import bytes_per_pixel
from .plain_config import read_plain_config

IMAGE_KEYS = ('img', 'lq')  # of the degraded image in pipelines


class TorchNetwork(Network):
    """Runs a student.

    Args:
        cfg (dict): Config with ``model`` and, for the order of channels, a pipeline.
        checkpoint (str): Its weights.
        device (str, optional): Of torch. Defaults to CUDA where there is one, or else the CPU.
        amp (bool): Half precision: float16 on CUDA, bfloat16 on the CPU.

    Raises:
        FileNotFoundError: A file is missing.
        ValueError: A file cannot be read, or does not fit the network.
    """

    def __init__(self, cfg: dict, checkpoint: str, device: Optional[str] = None, amp: bool = False):
        import mmagic.models  # noqa: F401  (registers the networks)

        for name in (cfg.get('custom_imports') or {}).get('imports', ()):
            importlib.import_module(name)
        init_default_scope(cfg.get('default_scope') or 'mmagic')
        self.device = torch.device(device or ('cuda' if torch.cuda.is_available() else 'cpu'))
        self.amp = torch.float16 if self.device.type == 'cuda' else torch.bfloat16
        self.amp = self.amp if amp else None
        order, self.notes = channel_order_of(cfg)
        weights = read_weights(checkpoint)
        self.student = build_student(cfg['model'], weights, order, str(checkpoint)).to(self.device)
        kind = type(self.student.generator).__name__
        self.name = f'{Path(checkpoint).name} ({kind})'
        settings = f'{sha256_of(checkpoint)} {cfg["model"]["generator"]} {order} {self.amp}'
        self.identity = hashlib.sha256(settings.encode()).hexdigest()
        self.channels = self.student.channels
        self.bytes_per_pixel = bytes_per_pixel(self.student, self.channels)
        self.most_bytes = MOST_ON_CPU if self.device.type == 'cpu' else None
        if pools_globally(self.student.generator):
            self.tile_note = f'{kind} weighs its channels by their means over the image; in tiles, over each tile'

    def free_bytes(self) -> int:
        """Memory that is free on the device."""
        if self.device.type == 'cuda':
            cached = torch.cuda.memory_reserved(self.device) - torch.cuda.memory_allocated(self.device)
            return torch.cuda.mem_get_info(self.device)[0] + cached
        return free_on_cpu()

    @torch.inference_mode()
    def run(self, images: np.ndarray) -> np.ndarray:
        """Restores (N, channels, H, W), float32, in [0, 1]."""
        inputs = torch.from_numpy(images).to(self.device)
        try:
            with torch.autocast(self.device.type, self.amp, enabled=self.amp is not None):
                return self.student(inputs).float().cpu().numpy()
        except RuntimeError:
            if self.device.type == 'cuda':
                torch.cuda.empty_cache()  # a smaller tile may need what is left in pieces
            raise


def exported_config(weights) -> dict:
    """The config of an exported student: the file beside its weights, which is read and not run.

    Args:
        weights (str | Path): ``student.pth`` or ``student.safetensors``.
    """
    return read_plain_config(Path(weights).with_suffix('.py'))


def config_of(path) -> Config:
    """A config file of mmagic or ours; it is code, and is run."""
    return Config.fromfile(path)


def channel_order_of(cfg: dict):
    """The order of channels in which the config tests, and what to tell people about it.

    Returns:
        tuple[str, list[str]]: 'rgb' or 'bgr', and notes.
    """
    tested, trained = (_loaded_order(cfg, kinds) for kinds in (('test', 'val'), ('train',)))
    if tested is None and trained is None:
        return 'bgr', [
            'the config has no pipeline that loads images: its network is taken to expect BGR, as mmagic loads'
        ]
    notes = []
    if tested and trained and tested != trained:
        notes.append(f'the config trains on {trained.upper()} and tests on {tested.upper()}: restored as it tests')
    return tested or trained, notes


def _loaded_order(cfg, kinds):
    for kind in kinds:
        for dataset in _datasets(cfg.get(f'{kind}_dataloader')):
            for step in dataset.get('pipeline') or cfg.get(f'{kind}_pipeline') or ():
                if _name_of(step) == 'LoadImageFromFile' and step.get('key') in IMAGE_KEYS:
                    return step.get('channel_order', 'bgr')
    return None


def _name_of(step):
    kind = step.get('type')
    return kind.split('.')[-1] if isinstance(kind, str) else getattr(kind, '__name__', None)


def _datasets(loaders):
    for loader in loaders if isinstance(loaders, (list, tuple)) else [loaders]:
        dataset = (loader or {}).get('dataset')
        while dataset and 'pipeline' not in dataset and isinstance(dataset.get('dataset'), dict):
            dataset = dataset['dataset']  # wrappers, such as RepeatDataset
        if dataset:
            yield dataset


def pools_globally(network: nn.Module) -> bool:
    """Whether the network takes means over the whole image, as NAFNet's channel attention does."""
    return any(isinstance(module, nn.AdaptiveAvgPool2d) for module in network.modules())

"""Networks that restore by torch: students, what spandrel recognizes, what they need in memory, and refiners."""

import hashlib
import weakref
from pathlib import Path
from typing import Optional

import numpy as np
import torch
from mmengine.config import Config
from mmengine.hub import get_config
from mmengine.registry import init_default_scope
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten

import mmsampriors  # noqa: F401  (before mmagic, which it mends)

# isort: split
from mmagic.structures import DataSample

from mmsampriors.checkpoints import GENERATOR, download_checkpoint, local_file, read_generator, read_weights
from mmsampriors.checks.config_reading import datasets_of, parse_config
from mmsampriors.files import HASH_KEY, sha256_of
from mmsampriors.images import Photograph, to_type, to_unit
from mmsampriors.masks.sam.ops import torch_device
from mmsampriors.models.networks import alike, build_student, first_keys
from mmsampriors.registry import MODELS

from .networks import Network, finite
from .plain_config import buildable_model, import_modules, read_plain_config
from .tiles import MOST_ON_CPU, free_on_cpu, is_out_of_memory

IMAGE_KEYS = ('img', 'lq')  # of the degraded image in pipelines


class TorchNetwork(Network):
    """Runs a student.

    Args:
        cfg (dict): Config with ``model`` and, for the order of channels, a pipeline.
        checkpoint (str): Its weights, a file or a URL.
        device (str, optional): Of torch. Defaults to CUDA where there is one, or else the CPU.
        amp (bool): Half precision: float16 on CUDA, bfloat16 on the CPU.

    Raises:
        FileNotFoundError: A file is missing.
        ValueError: A file cannot be read, or does not fit the network.
    """

    def __init__(self, cfg: dict, checkpoint: str, device: Optional[str] = None, amp: bool = False):
        import mmagic.models  # noqa: F401  (registers the networks)

        init_default_scope(cfg.get('default_scope') or 'mmagic')
        self._run_on(device, amp)
        order, self.notes = channel_order_of(cfg)
        checkpoint = local_file(checkpoint)
        weights, form = read_generator(checkpoint, cfg.get(HASH_KEY))
        if form:
            self.notes.append(f'{checkpoint}: {form}')
        try:
            student = build_student(cfg['model'], weights, order, str(checkpoint))
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            raise ValueError(f'memory does not hold the network that the config of {checkpoint} describes') from error
        built_of = {key: cfg['model'].get(key) for key in ('generator', 'data_preprocessor')}
        self._take(student, checkpoint, f'{built_of} {order}')

    def _run_on(self, device, amp):
        self.device = torch_device(device)
        self.amp = torch.float16 if self.device.type == 'cuda' else torch.bfloat16
        self.amp = self.amp if amp else None

    def _take(self, student, checkpoint, settings):
        self.student = student.to(self.device)
        kind = type(self.student.generator).__name__
        self.name = f'{Path(checkpoint).name} ({kind})'
        self.identity = hashlib.sha256(f'{sha256_of(checkpoint)} {settings} {self.amp}'.encode()).hexdigest()
        self.channels, self.scale = self.student.channels, self.student.scale
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


class SpandrelNetwork(TorchNetwork):
    """Runs a network that the library spandrel recognizes by its weights alone.

    Args:
        checkpoint (str): The weights, as the network's authors publish them.
        device (str, optional): As for :class:`TorchNetwork`.
        amp (bool): Likewise.

    Raises:
        ModuleNotFoundError: spandrel is not installed.
        ValueError: The file cannot be read, or spandrel does not know its network.
    """

    def __init__(self, checkpoint: str, device: Optional[str] = None, amp: bool = False):
        self._run_on(device, amp)
        weights = read_weights(checkpoint)
        if any(name.startswith(GENERATOR) for name in weights):
            read_plain_config(Path(checkpoint).with_suffix('.py'))  # says that it is missing: the weights are mmagic's
        spandrel, student = recognize(weights, checkpoint)
        self.notes = [f'{checkpoint}: {len(weights)} weights of {student.description}']
        self._take(student, checkpoint, f'spandrel {spandrel.__version__}')


class Recognized(nn.Module):
    """What spandrel made of weights, with what :class:`mmsampriors.models.networks.Student` offers to run it.

    Args:
        descriptor (ImageModelDescriptor): Of spandrel.
    """

    def __init__(self, descriptor):
        super().__init__()
        self.generator, self._run = descriptor.model.eval(), descriptor
        self.channels, self.scale = descriptor.input_channels, descriptor.scale
        enlarging = f', {self.scale} times as large' if self.scale > 1 else ''
        self.description = f'{descriptor.architecture.name}{enlarging}, as spandrel recognizes'
        self.generator.register_forward_hook(_without_infinity)

    def forward(self, images: Tensor) -> Tensor:
        """Restores (N, C, H, W), RGB or gray in [0, 1]."""
        return torch.cat([self._run(image[None]) for image in images])


def _without_infinity(network, inputs, outputs):
    """What is infinite becomes NaN, which spandrel does not cut off to white."""
    return outputs + 0 * outputs if isinstance(outputs, Tensor) else outputs


def recognize(weights: dict, source):
    """The library spandrel, and the network that it builds of weights.

    Args:
        weights (dict[str, Tensor]): By the network's own names.
        source (str): Where they come from, for errors.

    Raises:
        ModuleNotFoundError: spandrel is not installed.
        ValueError: It knows no such network, or one that does not make an image of an image.
    """
    otherwise = f'with --config mmagic::FOLDER/CONFIG.py --checkpoint {source} mmagic runs it'
    try:
        import spandrel
        import spandrel_extra_arches
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f'{source} has no config beside it, and {error.name}, which recognizes a network by its weights, is not '
            f"installed: pip install 'mmsampriors[spandrel]'. Or, if the network is one of mmagic's: {otherwise}"
        ) from None
    spandrel_extra_arches.install(ignore_duplicates=True)
    try:
        descriptor = spandrel.ModelLoader('cpu').load_from_state_dict(dict(weights))
    except Exception as error:  # whatever the builder of an architecture that it took the weights for raises
        raise ValueError(
            f'spandrel {spandrel.__version__} knows no network with the weights of {source}; their first names are '
            f'{first_keys(weights)} ({type(error).__name__}). Where it is one of mmagic: {otherwise}'
        ) from None
    given, made = descriptor.input_channels, descriptor.output_channels
    if not isinstance(descriptor, spandrel.ImageModelDescriptor) or given != made or given not in (1, 3):
        raise ValueError(
            f'{source} is a {descriptor.architecture.name} for {descriptor.purpose}, of {given} channels to {made}: '
            'restored are images of 3 channels or 1, without a mask'
        )
    return spandrel, Recognized(descriptor)


def mmagic_student(name: str):
    """A config of mmagic and the weights that mmagic's metafile names for it, downloaded once.

    Args:
        name (str): ``mmagic::FOLDER/CONFIG.py``.

    Returns:
        tuple[Config, Path]: Config and weights.

    Raises:
        FileNotFoundError: mmagic has no such config or names no weights for it, or they cannot be downloaded.
    """
    try:
        cfg = get_config(name, pretrained=True)
    except (AssertionError, ValueError, OSError) as error:
        raise FileNotFoundError(
            f'mmagic names no weights for {name} ({error}): name --config and --checkpoint'
        ) from None
    return cfg, download_checkpoint(cfg.model_path, check=True)


def exported_config(weights, allow_imports: bool = False) -> dict:
    """The config of an exported student: the file beside its weights, which is read and not run.

    Args:
        weights (str | Path): ``student.pth`` or ``student.safetensors``.
        allow_imports (bool): Whether the modules are imported that it names. Their code runs.

    Raises:
        FileNotFoundError: There is no such config.
        PlainConfigError: It holds more than values, names modules, or types that are not registered.
    """
    path = Path(weights).with_suffix('.py')
    cfg = read_plain_config(path)
    import_modules(cfg, path, allow_imports)
    return {**cfg, 'model': buildable_model(cfg, path)}


def config_of(path) -> Config:
    """A config file, or a config of a package such as ``mmagic::edsr/...py``; it is code, and is run."""
    cfg = get_config(path) if '::' in str(path) else parse_config(str(path))
    cfg.pop(HASH_KEY, None)  # of an export: here the weights are named apart, and may be others
    return cfg


def channel_order_of(cfg: dict):
    """The order of channels in which the config tests, and messages about it.

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
        pipelines = [dataset.get('pipeline') for dataset in datasets_of(cfg.get(f'{kind}_dataloader'))]
        for pipeline in [*pipelines, cfg.get(f'{kind}_pipeline')]:
            for step in pipeline or ():
                if _name_of(step) == 'LoadImageFromFile' and step.get('key') in IMAGE_KEYS:
                    return step.get('channel_order', 'bgr')
    return None


def _name_of(step):
    kind = step.get('type')
    return kind.split('.')[-1] if isinstance(kind, str) else getattr(kind, '__name__', None)


def pools_globally(network: nn.Module) -> bool:
    """Whether the network takes means over the whole image, as NAFNet's channel attention does."""
    return any(isinstance(module, nn.AdaptiveAvgPool2d) for module in network.modules())


#: What operations need beside their results, such as unfolded inputs of convolutions. [ours]
WORKSPACE = 1.3


class LiveBytes(TorchDispatchMode):
    """Counts the bytes of the tensors that are alive, on any device, while it is entered.

    Attributes:
        peak (int): Most bytes at once, of what was made meanwhile.
    """

    def __init__(self):
        super().__init__()
        self.peak, self._now, self._holders = 0, 0, {}

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        results = func(*args, **(kwargs or {}))
        for result in tree_flatten(results)[0]:
            if isinstance(result, Tensor):
                self._see(result)
        return results

    def _see(self, tensor):
        storage = tensor.untyped_storage()
        key, size = storage.data_ptr(), storage.nbytes()
        if key not in self._holders:
            self._holders[key] = 0
            self._now += size
            self.peak = max(self.peak, self._now)
        self._holders[key] += 1
        weakref.finalize(tensor, self._drop, key, size)

    def _drop(self, key, size):
        self._holders[key] -= 1
        if not self._holders[key]:
            del self._holders[key]
            self._now -= size


@torch.no_grad()
def bytes_per_pixel(network: nn.Module, channels: int, side: int = 128) -> float:
    """What a network needs for each pixel of its image, measured on an empty one.

    Args:
        network (nn.Module): Restores (N, C, H, W).
        channels (int): C.
        side (int): Height and width of the image.
    """
    weight = next(network.parameters())
    image = torch.zeros(1, channels, side, side, device=weight.device)
    if weight.device.type == 'cuda':
        torch.cuda.reset_peak_memory_stats(weight.device)
        before = torch.cuda.memory_allocated(weight.device)
        network(image)
        used = torch.cuda.max_memory_allocated(weight.device) - before
    else:
        with LiveBytes() as live:
            network(image)
        used = live.peak
    return WORKSPACE * (used + image.nbytes) / side**2


class Refiner:
    """Refines whole photographs, for masks know no tiles.

    Args:
        network (TorchNetwork): The student of the same checkpoint.
        cfg (Config): Of an SPDModel.
        checkpoint (str): Of training, with SPF unit and refiner.

    Raises:
        ValueError: The config is of no SPDModel, or the checkpoint holds no refiner that fits it.
    """

    def __init__(self, network: TorchNetwork, cfg, checkpoint: str):
        if 'spd' not in cfg.model:
            raise ValueError(f'refining needs the config of an SPDModel; this one has {cfg.model.type}')
        weights = read_weights(checkpoint)
        if not any(key.startswith('refiner.') for key in weights):
            raise ValueError(f'refining needs a training checkpoint; {checkpoint} holds no refiner')
        self.network, self.student = network, network.student
        self.model = MODELS.build(cfg.model).eval().to(network.device)
        own = {key: value for key, value in self.model.state_dict().items() if not key.startswith('losses.')}
        other = [key for key in own if key not in weights or not alike(weights[key], own[key])]
        if other:
            raise ValueError(
                f'the checkpoint {checkpoint} does not fit the model: {len(other)} of its {len(own)} weights are '
                f'missing, or have another shape or kind of number, such as {other[0]}'
            )
        self.model.load_state_dict(weights, strict=False)  # what a training measures besides is not asked for
        self.model.test_cfg = {**(self.model.test_cfg or {}), 'refined': True}
        self.model.mask_source.prepare()
        self.identity = hashlib.sha256(f'{sha256_of(checkpoint)} {cfg.model.to_dict()}'.encode()).hexdigest()

    @torch.no_grad()
    def __call__(self, photograph: Photograph, path: Path) -> Photograph:
        """The refined photograph.

        Args:
            photograph (Photograph): As read.
            path (Path): Its file, for masks that are kept by name.
        """
        unit = to_unit(photograph.pixels)
        if unit.ndim == 2:
            unit = np.stack([unit] * 3, axis=2)
        images = torch.from_numpy(unit).permute(2, 0, 1)[None].to(self.network.device)
        samples = DataSample(metainfo=dict(img_channel_order=[self.student.order], img_path=[str(path)]))
        outputs = self.model.forward_tensor(self.student.input_of(images), samples)
        refined = self.student.image_of(outputs, images.shape[-2:])[0].permute(1, 2, 0).cpu().numpy()
        if photograph.pixels.ndim == 2 or refined.shape[2] == 1:
            refined = refined.mean(axis=2)
        return photograph.with_pixels(to_type(finite(refined), photograph.pixels.dtype))

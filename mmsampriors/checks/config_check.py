"""Checks of a config before a run."""

import inspect
import os.path as osp
from copy import deepcopy
from typing import Iterator, Optional, Tuple

import torch
from mmengine.config import Config
from mmengine.optim import DefaultOptimWrapperConstructor, build_optim_wrapper
from mmengine.registry import MODEL_WRAPPERS
from torch.nn.parallel import DistributedDataParallel

from mmsampriors.command_line import message_of
from mmsampriors.models import SPDModel
from mmsampriors.models.losses import DistillationLoss
from mmsampriors.models.networks import probe_network
from mmsampriors.models.spd_config import check_spd
from mmsampriors.registry import MODELS, OPTIM_WRAPPER_CONSTRUCTORS, TASK_UTILS, build_network, build_part, is_a

from .config_keys import ConfigFile, check_keys
from .config_reading import nodes_of, warn
from .config_values import unknown_type
from .length_check import check_length
from .pair_check import scales_in

#: Loaders whose images measure a network, the first of which counts.
MEASURED = ('val_dataloader', 'test_dataloader')


def check_channel_order(cfg: Config):
    """Warns of a network that is trained on one order of channels and measured on another.

    mmagic 1.2.0's NAFNet configs load BGR to train and RGB to validate. A data preprocessor with an order of its own
    mends that by itself.
    """
    measured = [(loader, step) for loader in MEASURED for _, step in loading_steps(cfg.get(loader), loader)]
    if not measured or cfg.model.get('data_preprocessor', {}).get('output_channel_order'):
        return
    loader, step = measured[0]
    wanted = order_of(step)
    other = [
        key for key, step in loading_steps(cfg.get('train_dataloader'), 'train_dataloader') if order_of(step) != wanted
    ]
    if other:
        settings = ' '.join(f'{key}.channel_order={wanted}' for key in other)
        warn(
            f'train_dataloader loads {"RGB" if wanted == "bgr" else "BGR"} and {loader} {wanted.upper()}, so that the '
            'network would be trained on one order of channels and measured on another. Set (in the config, or with '
            f'--cfg-options) {settings}',
        )


def trained_order(cfg: Config) -> Optional[str]:
    """'rgb' or 'bgr', in which the train pipeline loads the images that a network takes; None where it loads none."""
    orders = {step.get('key'): order_of(step) for _, step in loading_steps(cfg.get('train_dataloader'), '')}
    return orders.get('img', orders.get('gt'))  # noise that is drawn at random is put on a copy of the ground truth


def in_order(node, order: str):
    """A copy of a config whose steps that load colour images load them in one order."""
    if isinstance(node, (list, tuple)):
        return type(node)(in_order(one, order) for one in node)
    if not isinstance(node, dict):
        return node
    copy = {key: in_order(value, order) for key, value in node.items()}
    return {**copy, 'channel_order': order} if _loads_colour(node) and order_of(node) != order else copy


def loading_steps(node, key: str) -> Iterator[Tuple[str, dict]]:
    """The steps below a part of a config that load colour images, each with its dotted key."""
    return ((path, one) for path, one in nodes_of(node, key) if isinstance(one, dict) and _loads_colour(one))


def order_of(step: dict) -> str:
    """The order in which a step loads images: mmagic's BGR, unless it is given another."""
    return step.get('channel_order', 'bgr')


def _loads_colour(step):
    kind = step.get('type')
    name = kind.split('.')[-1] if isinstance(kind, str) else getattr(kind, '__name__', None)
    return name == 'LoadImageFromFile' and step.get('color_type', 'color') != 'grayscale'


TRAINING_KEYS = ('train_dataloader', 'train_cfg', 'optim_wrapper')


def check_config(cfg: Config):
    """Refuses a config in which SPD would silently do nothing, or something else than it says.

    Raises:
        ValueError: Model without hook, hook without model, a base whose model is no BaseEditModel, wrong ``model.spd``,
            or a top-level ``spd`` that was changed and has no effect. For any config: a misspelt top-level key.
    """
    file = ConfigFile.of(cfg.filename) if cfg.filename and osp.isfile(cfg.filename) else None
    check_keys(cfg, file)
    hooks = cfg.get('custom_hooks') or []
    has_model, has_hook = is_a(cfg.model, 'SPDModel'), any(is_a(hook, 'SPDScheduleHook') for hook in hooks)
    if has_hook and not has_model:
        raise ValueError(
            f'custom_hooks has SPDScheduleHook, but model.type is {cfg.model.get("type")!r}, so nothing '
            "would be distilled: write model = dict(type='mmsampriors.SPDModel', spd=_base_.spd)"
        )
    if not has_model:
        return
    if not has_hook:
        raise ValueError(
            'model.type is mmsampriors.SPDModel, but custom_hooks has no SPDScheduleHook: write custom_hooks = '
            "_base_.get('custom_hooks', []) + _base_.spd_hooks"
        )
    _check_inherited(cfg, file)
    _check_wrapper(cfg.get('model_wrapper_cfg') or {})
    _check_model(cfg.model)
    check_spd(cfg.model.get('spd'))
    _check_top_level(cfg, file)


def _check_wrapper(wrapper):
    """Refuses FSDP and the like: a stage that begins wraps the model anew, which only DDP can be."""
    kind = wrapper.get('type', 'MMDistributedDataParallel')
    kind = MODEL_WRAPPERS.get(kind) if isinstance(kind, str) else kind
    if kind and not issubclass(kind, DistributedDataParallel):
        raise ValueError(
            f'the stages of SPD need DDP, and model_wrapper_cfg.type is {wrapper.type!r}: take model_wrapper_cfg out, '
            "or set model_wrapper_cfg=dict(type='MMDistributedDataParallel')"
        )


def check_training(cfg: Config):
    """Refuses an SPDModel's config whose network cannot be distilled, or that can only test. Builds the student once.

    Of any config: warns of learning rates that are laid out for another length of training, and of channels that are
    in another order in training than in validation.

    Raises:
        ValueError: The network does not map an image to an image (video, two pictures), the config lacks what training
            needs, is too short for its stages, loads images of other channels than the network takes, or pairs of
            another scale than the network's.
    """
    if not is_a(cfg.model, 'SPDModel'):
        if all(cfg.get(key) for key in TRAINING_KEYS):
            check_length(cfg)
            check_channel_order(cfg)
        return
    with torch.random.fork_rng(devices=[]):
        _check_parts(cfg.model.spd)
        network = _network_of(cfg.model.generator)
        probe = probe_network(network)
    missing = [key for key in TRAINING_KEYS if not cfg.get(key)]
    if missing:
        raise ValueError(
            f"the config lacks {', '.join(missing)}, so it can only test, as mmagic's Restormer configs "
            "do: inherit a schedule beside it, 'mmsampriors::_base_/schedules/restormer_derain.py' (or "
            'restormer_deblur.py, restormer_denoise.py, restormer_denoise_gaussian.py). Real-world SwinIR needs '
            'train_dataloader, train_cfg and optim_wrapper of your own'
        )
    _check_optim_wrapper(cfg.optim_wrapper, network)
    check_length(cfg)
    check_channel_order(cfg)
    pipeline = cfg.train_dataloader.dataset.get('pipeline', [])
    _check_channels(pipeline, probe.image_channels)
    _check_scale(cfg, pipeline, probe.scale)
    _warn_of_noise(pipeline)


#: What building a part of others raises when it is given what it does not take.
BUILDING_ERRORS = (AssertionError, AttributeError, KeyError, RuntimeError, TypeError, ValueError)


def _network_of(generator):
    try:
        return build_network(deepcopy(generator))
    except BUILDING_ERRORS as error:
        raise ValueError(f'model.generator = {_short(generator)} cannot be built: {message_of(error)}') from error


def _check_optim_wrapper(wrapper, network):
    """Builds the optimizer of the student: what a group of parameters gets is read only with the parameters."""
    constructor = wrapper.get('constructor')
    if constructor and OPTIM_WRAPPER_CONSTRUCTORS.get(constructor) is None:
        raise ValueError(unknown_type('optim_wrapper.constructor', constructor, [OPTIM_WRAPPER_CONSTRUCTORS]))
    if constructor not in (None, DefaultOptimWrapperConstructor.__name__) or 'optimizer' not in wrapper:
        return
    model = torch.nn.ModuleDict(dict(generator=network))
    try:
        build_optim_wrapper(model, deepcopy(wrapper))
    except Exception as error:  # of any optimizer
        raise ValueError(f'optim_wrapper cannot be built: {message_of(error)}') from error
    names = [f'{part}.{name}' for part in ('generator', 'refiner', 'spf') for name, _ in network.named_parameters()]
    unused = [
        key
        for key in (wrapper.get('paramwise_cfg') or {}).get('custom_keys') or {}
        if not any(key in name for name in names)
    ]
    if unused:
        warn(
            f'optim_wrapper.paramwise_cfg.custom_keys has {", ".join(unused)}, which is in no name of a weight '
            f'of the student, such as {names[0]}',
        )


def _check_parts(spd):
    """Builds the small parts of ``model.spd``, so that a wrong argument is reported with its key, before any data.

    SAM, the refiner and the feature extractor are built later. The SPF
    unit, which is made for its refiner, is built for any.
    """
    losses = {f'losses.{name}': loss for name, loss in spd['losses'].items()}
    given = {**spd, **losses}
    made_for = dict(image_channels=3, entry_channels=4, entry=spd['spf'].get('entry') or 'any')
    parts = {**given, 'spf': {**spd['spf'], **made_for}}
    for key, registry in (
        ('spf', MODELS),
        ('schedule', TASK_UTILS),
        *((key, MODELS) for key in losses),
        ('masks', MODELS),
    ):
        if given[key] is None:
            continue
        try:
            part = build_part(registry, deepcopy(parts[key]))
        except BUILDING_ERRORS as error:
            raise ValueError(f'model.spd.{key} = {_short(given[key])} cannot be built: {message_of(error)}') from error
        if key in losses and not isinstance(part, DistillationLoss):
            raise ValueError(f'model.spd.{key}.type must be a DistillationLoss, found {type(part).__name__}')
        if key == 'masks':
            part.check()


def _short(cfg) -> str:
    return f'dict({", ".join(f"{key}={value!r}" for key, value in cfg.items() if key != "_scope_")})'


def _check_channels(pipeline, channels):
    """A gray network trains on gray images, a colour one on colour."""
    for step in pipeline:
        kind = step.get('color_type', 'color') if step.get('type') == 'LoadImageFromFile' else None
        loaded = 1 if kind == 'grayscale' or step.get('to_y_channel') else 3
        if kind in ('color', 'grayscale') and loaded != channels:
            raise ValueError(
                f'model.generator restores images of {channels} channels, and the train pipeline loads '
                f'{step.get("key")!r} with {loaded} (color_type={kind!r}): set color_type to '
                f'{"grayscale" if channels == 1 else "color"!r} in both LoadImageFromFile; for gray '
                'Restormers inherit mmsampriors::_base_/schedules/restormer_denoise_gaussian_gray.py'
            )


def _check_scale(cfg, pipeline, scale):
    """Pairs are of the network's scale, and so are masks; what is enlarged is not restored again."""
    others = [found for found in scales_in(pipeline) if found != scale]
    if others:
        raise ValueError(
            f'model.generator enlarges by {scale}, and SetValues in the train pipeline says scale={others[0]}: write '
            f"dict(type='SetValues', dictionary=dict(scale={scale})), and take pairs of that scale"
        )
    patches = [step['gt_patch_size'] for step in pipeline if step.get('type') == 'PairedRandomCrop']
    if any(patch % scale for patch in patches):
        raise ValueError(
            f'PairedRandomCrop in the train pipeline has gt_patch_size={patches[0]}, and model.generator enlarges by '
            f'{scale}: take a multiple of {scale}, such as {patches[0] // scale * scale or scale}'
        )
    hooks = [hook for hook in cfg.get('custom_hooks') or [] if is_a(hook, 'UnlabeledHook')]
    if scale > 1 and any(hook.get('cascade', 1) != 1 for hook in hooks):
        raise ValueError(
            f'model.generator enlarges by {scale}, and an enlarged image is no input of it: UnlabeledHook.cascade must '
            'be 1'
        )
    sources = {'model.spd.masks': cfg.model.spd.masks, 'UnlabeledHook.masks': hooks[0].get('masks') if hooks else None}
    for key, masks in sources.items():
        if scale > 1 and (masks or {}).get('source') == 'lq':
            raise ValueError(
                f"{key}.source='lq' makes masks of the size of the degraded image, and model.generator enlarges by "
                f"{scale}: masks must have the size of the ground truth. Take source='gt', or source='restored'"
            )


def _warn_of_noise(pipeline):
    """mmagic 1.2.0 writes ``sigma * 255`` into SwinIR's colorDN15 config, for images of 0 to 255."""
    for step in pipeline:
        sigma = step.get('params', {}).get('gaussian_sigma', [0]) if step.get('type') == 'RandomNoise' else [0]
        if max(sigma) > 255:
            warn(
                f'RandomNoise in the train pipeline has gaussian_sigma={sigma}, in units of 0 to 255: nothing '
                f'of the image is left. Where mmagic writes sigma * 255, set {[value / 255 for value in sigma]}',
            )


def _check_inherited(cfg, file):
    """A child's ``type='mmsampriors.SPDModel'`` hides what its base trained; only the base itself still says so."""
    kind = file and _inherited_type(file)
    if kind not in (None, 'BaseEditModel'):
        raise ValueError(
            f'{cfg.filename} inherits a {kind}, and SPDModel would put a plain restoration training in '
            'its place. SPD distils what mmagic trains as a BaseEditModel, one image in and one image of '
            'the same size out: GANs, diffusion, video, inpainting and matting do not qualify. For the '
            "network alone write the model anew: model = dict(_delete_=True, type='mmsampriors.SPDModel', "
            'generator=..., pixel_loss=..., data_preprocessor=..., spd=_base_.spd)'
        )


def _inherited_type(file):
    """``model.type`` that the bases of a config file say, SPDModel left out; None where they have no say."""
    model = file.config.get('model', {})
    for base in file.bases:
        inherited = base.config.get('model', {})
        # A model that is written anew (_delete_) lacks keys of its base's.
        if set(inherited) - {'_scope_'} <= set(model):
            kind = _inherited_type(base) if is_a(inherited, 'SPDModel') else inherited.get('type')
            if kind:
                return kind
    return None


def _check_model(model):
    takes = inspect.signature(SPDModel).parameters
    unknown = sorted(set(model) - set(takes) - {'type', '_scope_'})
    missing = [key for key in ('generator', 'pixel_loss') if not model.get(key)]
    if unknown or missing:
        raise ValueError(
            f'model has keys {unknown} that SPDModel does not take, and lacks {missing}: its base is no '
            f'BaseEditModel. SPDModel takes {list(takes)}'
        )


def _check_top_level(cfg, file):
    """``_base_.spd`` is copied into ``model.spd`` when the file is read: a later change of ``spd`` reaches nothing."""
    if 'spd' not in cfg or file is None:
        return
    used = dict(values_by_key(cfg.model.spd))
    for before, given in _changes_of_spd(cfg, file):
        before, given = dict(values_by_key(before)), dict(values_by_key(given))
        for key in {**given, **before}:
            # None is a value that a key may have, so a key that is absent needs another sign.
            was, value, now = (spd.get(key, '(absent)') for spd in (before, given, used))
            if value not in (was, now):
                raise ValueError(
                    f'spd.{key} = {value!r} has no effect, for model.spd.{key} is {now!r}: set '
                    f'model.spd.{key} (on the command line: --cfg-options model.spd.{key}=...)'
                )


def _changes_of_spd(cfg, file):
    """The top-level ``spd`` before and after each place that may have changed it without effect.

    Such a place is a file with an SPDModel: what it copied into ``model.spd`` is the ``spd`` of its bases. A file
    without a model, such as spd_sam.py, changes what its children copy. The command line is the last such place.
    """
    yield file.config.get('spd', {}), cfg.spd
    for one in file.family():
        inherited = [base.config.spd for base in one.bases if 'spd' in base.config]
        if inherited and is_a(one.config.get('model', {}), 'SPDModel'):
            yield inherited[0], one.config.spd


def values_by_key(node, path: str = '') -> Iterator[Tuple[str, object]]:
    """The values of nested dicts with their dotted keys; scopes, which mmengine adds, are left out."""
    if not isinstance(node, dict) or not node:
        yield path, node
        return
    for key, value in node.items():
        if key != '_scope_':
            yield from values_by_key(value, f'{path}.{key}' if path else key)

"""Initial weights of a run, and restorers of cached masks."""

import re
from typing import Dict, Mapping, Optional

import torch
from torch import Tensor, nn

from mmsampriors.checkpoints import generator_weights, read_generator
from mmsampriors.datasets.stored_masks import datasets_with_pipeline
from mmsampriors.models.networks import alike, build_student, first_keys, network_of, same_architecture, whole_numbers

from .export import OWN_PARTS


def fit_to_model(checkpoint: dict, model: nn.Module) -> str:
    """Makes a checkpoint that is about to be loaded into an SPDModel whole, in place, or refuses it.

    mmengine loads what it finds and only logs the rest. Stock mmagic checkpoints hold the student (``generator.*``),
    and so do those of a network's authors (:func:`mmsampriors.checkpoints.generator_weights`). A refiner of the same
    architecture then takes the student's weights, which is a better start than random ones [ours]; SPF unit and other
    refiners keep the weights that they have.

    Args:
        checkpoint (dict): As loaded, a state dict or one that holds it under ``state_dict``.
        model (SPDModel): The model, unwrapped.

    Returns:
        str: A message; empty where the checkpoint has everything.

    Raises:
        ValueError: Weights of the student are missing or have another shape, or those of a refiner have another shape.
    """
    weights, form = generator_weights(checkpoint, 'to load')
    checkpoint['state_dict'] = found = dict(weights)
    expected, state = weights_of(model), model.state_dict()
    own = {name: value for name, value in state.items() if name.startswith(OWN_PARTS)}
    absent = {name: value for name, value in own.items() if name not in weights}
    refuse_misfit(
        weights,
        {name: value for name, value in expected.items() if name not in absent},
        f'SPDModel, model.generator {type(model.generator).__name__}',
        'Take the checkpoint of this config, or leave load_from out',
        state if form else None,
    )
    found.update(absent)
    copies = [name for name in ('refiner', 'initial_student') if not any(key.startswith(f'{name}.') for key in weights)]
    if model.refiner_from and 'refiner' in copies:
        copies.remove('refiner')
    for name in copies:
        network = getattr(model, name)
        own = network_of(network)
        if own is not None and same_architecture(own, model.generator):
            prefix = name if own is network else f'{name}.network'
            found.update({f'{prefix}.{key}': found[f'generator.{key}'] for key in own.state_dict()})
    if not absent:
        return ''
    student = sum(name.startswith('generator.') for name in expected)
    return (
        f'the student takes all of its {student} weights from the checkpoint{form and f" ({form})"}; {len(absent)} of '
        'SPF unit and refiner are not in it: they start anew, and a refiner of the same '
        'architecture from the student'
    )


def weights_of(model: nn.Module, *parts: str) -> Dict[str, Tensor]:
    """What a model, or its ``parts`` alone, such as ``'generator'``, cannot do without.

    These are its parameters, the statistics of batch norms, and the frozen copy of the student. Other buffers, such as
    the attention masks of SwinIR, are made anew with each model.
    """
    prefixes = tuple(f'{part}.' for part in parts) or ('',)
    learned = {name for name, _ in model.named_parameters()}

    def is_weight(name):
        copied = re.sub('^initial_student', 'generator', name)
        return copied in learned or name.endswith(('.running_mean', '.running_var'))

    return {name: value for name, value in model.state_dict().items() if name.startswith(prefixes) and is_weight(name)}


def refuse_misfit(
    state_dict: Mapping[str, Tensor],
    expected: Mapping[str, Tensor],
    model: str,
    remedy: str,
    known: Optional[Mapping[str, Tensor]] = None,
):
    """Refuses a checkpoint that does not give a model each of its weights.

    Args:
        state_dict (dict[str, Tensor]): Of the checkpoint. It may hold more.
        expected (dict[str, Tensor]): The weights that the model needs; see :func:`weights_of`.
        model (str): What the model is called in the error.
        remedy (str): What to do, a sentence without its full stop.
        known (dict[str, Tensor], optional): The model's state dict, where the checkpoint must hold nothing else.

    Raises:
        ValueError: Weights are missing, have another shape, or hold values that are not finite.
    """
    message = misfit(state_dict, expected, known)
    if message:
        raise ValueError(f'the checkpoint does not fit the model ({model}): {message}. {remedy}')


def misfit(
    found: Mapping[str, Tensor], expected: Mapping[str, Tensor], known: Optional[Mapping[str, Tensor]] = None
) -> Optional[str]:
    """Says what keeps a checkpoint from filling a model; None where nothing does. See :func:`refuse_misfit`."""
    missing = [name for name in expected if not isinstance(found.get(name), Tensor)]
    shared = [name for name in expected if name not in missing]
    other = [name for name in shared if not alike(found[name], expected[name])]
    faulty = [name for name in shared if not torch.isfinite(found[name]).all()]
    unknown = [name for name in found if known is not None and name not in known]
    if not (missing or other or faulty or unknown):
        return None
    parts = [
        f'{len(missing)} of its {len(expected)} weights are missing{_first(missing)}' if missing else '',
        f'{len(other)} weights have another shape or kind of number{_first(other, found, expected)}' if other else '',
        f'{len(faulty)} weights are not finite{_first(faulty)}' if faulty else '',
        f'{len(unknown)} weights are unknown to it{_first(unknown)}' if unknown else '',
    ]
    return (
        f'{", ".join(filter(None, parts))}. The first of the {len(found)} entries of the checkpoint are '
        f'{first_keys(found)}; expected are {first_keys(expected)}, as mmagic saves them, or as the authors of '
        'the same network do'
    )


def _first(names, found=None, expected=None):
    def shown(weights):
        return f'{tuple(weights[names[0]].shape)}{whole_numbers(weights[names[0]])}'

    return f' (first: {names[0]}{f", {shown(found)} instead of {shown(expected)}" if found else ""})'


def restorer_of(cfg, source, dataset):
    """The restorer that a stored mask source names, or None where it segments the images as they are.

    Args:
        cfg (Config): Holds ``model``, whose student restores.
        source (MaskSource): A stored one, with ``source`` and, where that is 'restored', ``restorer``, a checkpoint.
        dataset (Dataset): The train dataset, built. Its pipeline says in which order the student takes channels.

    Returns:
        callable, optional: Takes (N, 3, H, W), RGB in [0, 1], and gives it restored.
    """
    if source.source != 'restored':
        return None
    steps = datasets_with_pipeline(dataset)[0].pipeline.transforms
    orders = {step.key: step.channel_order for step in steps if hasattr(step, 'channel_order')}
    # Noise that is drawn at random is put on a copy of the ground truth.
    order = orders['img'] if 'img' in orders else orders['gt']
    return build_student(cfg.model, read_generator(source.restorer)[0], order, source.restorer).restore

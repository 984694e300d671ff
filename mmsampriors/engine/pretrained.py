"""Whether a checkpoint fits a model, and a student that starts from one (``load_from``)."""

import re
from typing import Dict, Mapping, Optional

import torch
from torch import Tensor, nn

from mmsampriors.models.frozen_copy import same_architecture

from .export import OWN_PARTS


def fit_to_model(checkpoint: dict, model: nn.Module) -> str:
    """Makes a checkpoint that is about to be loaded into an SPDModel whole, in place, or refuses it.

    mmengine loads what it finds and only logs the rest. Stock mmagic checkpoints hold the student (``generator.*``):
    a refiner of the same architecture then takes the student's weights, which is a better start than random ones
    [ours]; SPF unit and other refiners keep the weights that they have.

    Args:
        checkpoint (dict): As loaded, a state dict or one that holds it under ``state_dict``.
        model (SPDModel): The model, unwrapped.

    Returns:
        str: What there is to tell; empty where the checkpoint has everything.

    Raises:
        ValueError: Weights of the student are missing or have another shape, or those of a refiner have another shape.
    """
    found = checkpoint.get('state_dict', checkpoint)
    weights = without_wrapper(found)
    prefix = 'module.' if any(name.startswith('module.generator.') for name in found) else ''
    expected = weights_of(model)
    own = {name: value for name, value in model.state_dict().items() if name.startswith(OWN_PARTS)}
    ours = {name: value for name, value in own.items() if name not in weights}
    refuse_misfit(
        weights,
        {name: value for name, value in expected.items() if name not in ours},
        f'SPDModel, model.generator {type(model.generator).__name__}',
        'Take the checkpoint of this config, or leave load_from out',
    )
    found.update(ours)
    copies = [name for name in ('refiner', 'first_student') if not any(key.startswith(f'{name}.') for key in weights)]
    if model.refiner_from and 'refiner' in copies:
        copies.remove('refiner')
    for name in copies:
        network = getattr(model, name)
        if network is not None and same_architecture(network, model.generator):
            found.update({f'{name}.{key}': found[prefix + f'generator.{key}'] for key in network.state_dict()})
    student = sum(name.startswith('generator.') for name in expected)
    return (
        (
            f'the student takes all of its {student} weights from the checkpoint; {len(ours)} of SPF unit and '
            'refiner are not in it: they start anew, and a refiner of the same architecture from the student'
        )
        if ours
        else ''
    )


def weights_of(model: nn.Module, *parts: str) -> Dict[str, Tensor]:
    """What a model, or its ``parts`` alone, such as ``'generator'``, cannot do without.

    These are its parameters, the statistics of batch norms, and the frozen copy of the student. Other buffers, such as
    the attention masks of SwinIR, are made anew with each model.
    """
    prefixes = tuple(f'{part}.' for part in parts) or ('',)
    learned = {name for name, _ in model.named_parameters()}

    def is_weight(name):
        copied = re.sub('^first_student', 'generator', name)
        return copied in learned or name.endswith(('.running_mean', '.running_var'))

    return {name: value for name, value in model.state_dict().items() if name.startswith(prefixes) and is_weight(name)}


def without_wrapper(state_dict: Mapping[str, Tensor]) -> Dict[str, Tensor]:
    """A state dict without the prefix that a model wrapper, such as DDP, gives to each name."""
    return {re.sub(r'^module\.', '', name): value for name, value in state_dict.items()}


def refuse_misfit(state_dict: Mapping[str, Tensor], expected: Mapping[str, Tensor], model: str, remedy: str):
    """Refuses a checkpoint that does not give a model each of its weights.

    Args:
        state_dict (dict[str, Tensor]): Of the checkpoint. It may hold more.
        expected (dict[str, Tensor]): The weights that the model needs; see :func:`weights_of`.
        model (str): What the model is called in the error.
        remedy (str): What to do, a sentence without its full stop.

    Raises:
        ValueError: Weights are missing, have another shape, or hold values that are not finite.
    """
    message = misfit(state_dict, expected)
    if message:
        raise ValueError(f'the checkpoint does not fit the model ({model}): {message}. {remedy}')


def misfit(state_dict: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> Optional[str]:
    """Says what keeps a checkpoint from filling a model; None where nothing does. See :func:`refuse_misfit`."""
    found = without_wrapper(state_dict)
    missing = [name for name in expected if not isinstance(found.get(name), Tensor)]
    shared = [name for name in expected if name not in missing]
    other = [name for name in shared if found[name].shape != expected[name].shape]
    faulty = [name for name in shared if not torch.isfinite(found[name]).all()]
    if not (missing or other or faulty):
        return None
    parts = [
        f'{len(missing)} of its {len(expected)} weights are missing{_first(missing)}' if missing else '',
        f'{len(other)} weights have another shape{_first(other, found, expected)}' if other else '',
        f'{len(faulty)} weights are not finite{_first(faulty)}' if faulty else '',
    ]
    begins, wanted = (sorted({name.split('.')[0] for name in names})[:5] for names in (found, expected))
    return (
        f'{", ".join(filter(None, parts))}. The {len(found)} entries of the checkpoint begin with {begins}; expected '
        f'are {wanted}, as mmagic saves them for the same network'
    )


def _first(names, found=None, expected=None):
    shapes = f', {tuple(found[names[0]].shape)} instead of {tuple(expected[names[0]].shape)}' if names and found else ''
    return f' (first: {names[0]}{shapes})'

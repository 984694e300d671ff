"""A student that starts from a checkpoint (``load_from``)."""

import re

from torch import nn

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
    prefix = 'module.' if any(name.startswith('module.generator.') for name in found) else ''
    shapes = {re.sub(r'^module\.', '', name): getattr(value, 'shape', None) for name, value in found.items()}
    weights = dict(model.named_parameters())
    student = [name for name in weights if name.startswith('generator.')]
    missing = [name for name in student if name not in shapes]
    other = [name for name, weight in weights.items() if name in shapes and shapes[name] != weight.shape]
    if missing or other:
        raise ValueError(
            f'the checkpoint does not fit the model: {len(missing)} of the {len(student)} weights of '
            f'model.generator ({type(model.generator).__name__}) are missing{_first(missing)} and '
            f'{len(other)} weights have another shape{_first(other)}. Its {len(shapes)} entries begin '
            f'with {sorted({name.split(".")[0] for name in shapes})[:5]}; expected is generator.*, as '
            'mmagic saves it for the same network. Take the checkpoint of this config, or leave load_from '
            'out'
        )
    own = {name: value for name, value in model.state_dict().items() if name.startswith(OWN_PARTS)}
    ours = {name: value for name, value in own.items() if name not in shapes}
    found.update(ours)
    copies = [name for name in ('refiner', 'first_student') if not any(key.startswith(f'{name}.') for key in shapes)]
    if model.refiner_from and 'refiner' in copies:
        copies.remove('refiner')
    for name in copies:
        network = getattr(model, name)
        if network is not None and same_architecture(network, model.generator):
            found.update({f'{name}.{key}': found[prefix + f'generator.{key}'] for key in network.state_dict()})
    return (
        (
            f'the student takes all of its {len(student)} weights from the checkpoint; {len(ours)} of SPF unit and '
            'refiner are not in it: they start anew, and a refiner of the same architecture from the student'
        )
        if ours
        else ''
    )


def _first(names):
    return f' (first: {names[0]})' if names else ''

"""The registries of this package: children of mmagic's, with the scope ``mmsampriors``.

A config names what is registered here as ``mmsampriors.NAME``. In a dict with ``_scope_='mmsampriors'``, which mmengine
gives to what comes from ``mmsampriors::`` bases, the bare name does, and what is not found here is looked for in
mmagic's registry and then in mmengine's. Modules are imported when a registry is first asked.

mmengine looks a dict's scope up in whichever registry builds it, so every registry of mmagic has a child here, also
where this package adds nothing.
"""

from mmagic import registry as upstream
from mmengine.registry import Registry

SCOPE = 'mmsampriors'


def _child(parent: Registry, location: str) -> Registry:
    return Registry(parent.name, parent=parent, scope=SCOPE, locations=[location])


# with classes of this package
DATA_SAMPLERS = _child(upstream.DATA_SAMPLERS, 'mmsampriors.datasets')
HOOKS = _child(upstream.HOOKS, 'mmsampriors.engine')
METRICS = _child(upstream.METRICS, 'mmsampriors.evaluation')
MODELS = _child(upstream.MODELS, 'mmsampriors.models')
OPTIM_WRAPPERS = _child(upstream.OPTIM_WRAPPERS, 'mmsampriors.engine')
TASK_UTILS = _child(upstream.TASK_UTILS, 'mmsampriors.models')
TRANSFORMS = _child(upstream.TRANSFORMS, 'mmsampriors.datasets')

# without: the location fills the parent, whose names are found from here
DATASETS = _child(upstream.DATASETS, 'mmagic.datasets')
EVALUATORS = _child(upstream.EVALUATORS, 'mmagic.evaluation')
LOG_PROCESSORS = _child(upstream.LOG_PROCESSORS, 'mmagic.engine')
LOOPS = _child(upstream.LOOPS, 'mmagic.engine')
MODEL_WRAPPERS = _child(upstream.MODEL_WRAPPERS, 'mmagic.models')
OPTIMIZERS = _child(upstream.OPTIMIZERS, 'mmagic.engine')
OPTIM_WRAPPER_CONSTRUCTORS = _child(upstream.OPTIM_WRAPPER_CONSTRUCTORS, 'mmagic.engine')
PARAM_SCHEDULERS = _child(upstream.PARAM_SCHEDULERS, 'mmagic.engine')
RUNNERS = _child(upstream.RUNNERS, 'mmagic.engine')
RUNNER_CONSTRUCTORS = _child(upstream.RUNNER_CONSTRUCTORS, 'mmagic.engine')
VISBACKENDS = _child(upstream.VISBACKENDS, 'mmagic.visualization')
VISUALIZERS = _child(upstream.VISUALIZERS, 'mmagic.visualization')
WEIGHT_INITIALIZERS = _child(upstream.WEIGHT_INITIALIZERS, 'mmagic.models')


def build_part(registry: Registry, cfg: dict):
    """Builds a part of ``model.spd``, whose names are this package's or else mmagic's, without a prefix.

    Args:
        registry (Registry): One of this module.
        cfg (dict): Config with ``type``. Another scope than mmsampriors and mmagic is kept.

    Raises:
        TypeError: The config is no dict.
    """
    if not isinstance(cfg, dict):
        raise TypeError(f'a part is a config dict with a type, found {cfg!r}')
    return registry.build(in_own_scope(cfg))


def in_own_scope(cfg: dict) -> dict:
    """A part's config, in whose scope names are this package's or else mmagic's; another scope is kept."""
    scope = cfg.get('_scope_')
    return {**cfg, '_scope_': SCOPE if scope in (None, 'mmagic') else scope}


def build_network(cfg: dict):
    """Builds ``model.generator`` as mmagic does: a bare name is mmagic's, or a user's own there."""
    return upstream.MODELS.build(cfg)


def name_classes(node):
    """Puts registered names in the place of classes (``type=NAFNet``) in a config, in place.

    Classes that are not registered stay.
    """
    _name_classes(node, _names_of_classes())


def _names_of_classes() -> dict:
    nodes = [(node, '') for node in vars(upstream).values() if isinstance(node, Registry)]
    nodes += [(node, f'{SCOPE}.') for node in globals().values() if isinstance(node, Registry)]
    return {kind: f'{prefix}{name}' for node, prefix in nodes for name, kind in node.module_dict.items()}


def _name_classes(node, names):
    for key, value in list(node.items() if isinstance(node, dict) else enumerate(node)):
        if key == 'type' and not isinstance(value, (str, dict, list)) and value in names:
            node[key] = names[value]
        elif isinstance(value, (dict, list, tuple)):
            _name_classes(value, names)


def is_a(cfg: dict, name: str) -> bool:
    """Whether a config's ``type`` is ``name`` of this package, spelled with the prefix or without."""
    kind = cfg.get('type')
    return kind in (name, f'{SCOPE}.{name}') or getattr(kind, '__name__', None) == name

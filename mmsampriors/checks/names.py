"""Names of this package that a config spells as they were before it had registries of its own."""

from typing import Iterator, Tuple

from mmsampriors import registry
from mmsampriors.registry import SCOPE, Registry

#: Keys of a config whose content finds this package's names without the prefix (``registry.build_part``).
OWN_PARTS = ('spd', 'masks', 'segmenter')


def check_names(cfg: dict):
    """Refuses ``type='SPDModel'`` where it has to be ``type='mmsampriors.SPDModel'``.

    Raises:
        ValueError: A name of this package lacks its prefix; the message says what to write, and where.
    """
    ours = own_names()
    for path, kind in _bare_types(cfg):
        if kind in ours:
            raise ValueError(
                f"{path} = {kind!r}: this package has registries of its own now, so write '{SCOPE}.{kind}' there"
            )


def own_names() -> set:
    """All names that this package's registries hold."""
    registries = [node for node in vars(registry).values() if isinstance(node, Registry) and node.scope == SCOPE]
    for node in registries:
        node.import_from_location()
    return {name for node in registries for name in node.module_dict}


def _bare_types(node, path: str = '') -> Iterator[Tuple[str, str]]:
    """Dotted key and value of each ``type`` that mmagic's registries are asked for."""
    if isinstance(node, (list, tuple)):
        node = dict(enumerate(node))
    if not isinstance(node, dict) or node.get('_scope_') == SCOPE:
        return
    if isinstance(node.get('type'), str):
        yield f'{path}type', node['type']
    for key, value in node.items():
        if key not in OWN_PARTS:
            yield from _bare_types(value, f'{path}{key}.')

"""Repairs to mmengine's config files: packages as bases, and parts of another type."""

import importlib.util
import os.path as osp
import sys

from .patching import after_import

OWN_NAME = 'mmsampriors'
OWN_FOLDER = osp.dirname(osp.dirname(osp.abspath(__file__)))
CONFIG_MODULE = 'mmengine.config.config'


def _folder_of(package: str) -> str:
    """Folder of an importable package, by its module name or by the name of its distribution."""
    from mmengine.config.utils import MODULE2PACKAGE

    modules = {distribution: module for module, distribution in MODULE2PACKAGE.items()}
    spec = importlib.util.find_spec(modules.get(package, package))
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(f'{package} is not installed, but a config names it: pip install {package}')
    return osp.dirname(spec.origin)


def resolve_config_packages():
    """Lets ``mmsampriors::`` bases resolve, and any ``package::`` base without ``pkg_resources``.

    mmengine 0.10.7 knows only its own list of packages, looks for an editable (PEP 660) install in site-packages, and
    needs ``pkg_resources``, which setuptools 82 dropped, a Python 3.12 environment lacks, and each question loads anew
    in 15 ms. Can go when mmengine resolves packages through importlib.
    """
    import mmengine.utils
    from mmengine.config.utils import MODULE2PACKAGE

    config_module = sys.modules[CONFIG_MODULE]
    MODULE2PACKAGE[OWN_NAME] = OWN_NAME
    if getattr(config_module.get_installed_path, 'mended', False):
        return
    package_utils = sys.modules['mmengine.utils.package_utils']

    def get_installed_path(package):
        return OWN_FOLDER if package == OWN_NAME else _folder_of(package)

    def is_installed(package):
        try:
            return bool(get_installed_path(package))
        except ModuleNotFoundError:
            return False

    get_installed_path.mended = True
    for module in (config_module, mmengine.utils, package_utils):
        module.get_installed_path, module.is_installed = get_installed_path, is_installed


def _replace_other_types(child: dict, base: dict):
    """Marks the dicts that are about to be merged over a dict of another ``type``, or over no dict: they replace it."""
    for key, value in child.items():
        if not isinstance(value, dict) or key not in base:
            continue
        other = base[key]
        if not isinstance(other, dict) or 'type' in value and value['type'] != other.get('type', value['type']):
            value['_delete_'] = True
        else:
            _replace_other_types(value, other)


def replace_parts_of_another_type():
    """mmengine 0.10.7 merges a dict into the one that it overrides, whatever the ``type`` of the two [ours].

    A part of ``model.spd`` that is replaced by one of another type would inherit arguments that it does not take. In
    ``spd`` and ``model.spd`` it replaces the whole dict, in config files and on the command line. Every other key is
    merged as always. Can go when mmengine does so.
    """
    Config = sys.modules[CONFIG_MODULE].Config
    upstream_merge = Config._merge_a_into_b
    if getattr(upstream_merge, 'mended', False):
        return

    def _merge_a_into_b(a, b, allow_list_keys=False):
        if isinstance(a.get('spd'), dict) and isinstance(b, dict) and isinstance(b.get('spd'), dict):
            _replace_other_types(a['spd'], b['spd'])
        return upstream_merge(a, b, allow_list_keys)

    _merge_a_into_b.mended = True
    Config._merge_a_into_b = staticmethod(_merge_a_into_b)


def _mend():
    resolve_config_packages()
    replace_parts_of_another_type()


def mend_configs():
    """Both repairs, as soon as mmengine's configs are imported."""
    after_import(CONFIG_MODULE, _mend)

"""SAM-prior distillation for mmagic restoration networks.

Importing the package mends upstream (:mod:`mmsampriors.compat`) and makes ``mmsampriors::`` bases resolve. It imports
neither torch nor anything of OpenMMLab: repairs wait for the modules that they mend, and
:mod:`mmsampriors.registry` imports modules when a config first names one.
"""

from . import compat  # noqa: F401
from .version import __version__

__all__ = ['Restorer', '__version__']


def __getattr__(name: str):
    # On demand: training needs none of it.
    if name == 'Restorer':
        from .inference.restorer import Restorer

        return Restorer
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')

"""SAM-prior distillation for mmagic restoration networks.

Importing the package mends upstream (:mod:`mmsampriors.compat`) and makes ``mmsampriors::`` bases resolve. It imports
neither torch nor mmagic: :mod:`mmsampriors.registry` imports modules when a config first names one.
"""

from . import compat  # noqa: F401
from .version import __version__

__all__ = ['__version__']

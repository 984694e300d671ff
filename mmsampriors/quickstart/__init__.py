"""The main job on an embedded default, in minutes on two cores: what ``tools/quickstart.py`` runs."""

from .progress import Plan
from .run import run

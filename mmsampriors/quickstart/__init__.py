"""The main job on an embedded default, in minutes on two cores: what ``tools/quickstart.py`` runs."""

from .run import Plan, run

__all__ = ['Plan', 'run']

"""Experiments: a config's training beside its rivals, as processes of the tools, and a verdict."""

from .processes import Processes, hardware
from .rivals import RIVALS, Trial, prepare_trial, rivals_of, shortened, with_unlabeled
from .verdict import Verdict, judge

__all__ = [
    'RIVALS',
    'Processes',
    'Trial',
    'Verdict',
    'hardware',
    'judge',
    'prepare_trial',
    'rivals_of',
    'shortened',
    'with_unlabeled',
]

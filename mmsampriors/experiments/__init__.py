"""Experiments: a config's training beside its baselines, as processes of the tools, and a summary."""

from .baselines import BASELINES, Trial, baselines_of, prepare_trial, shortened, with_unlabeled
from .summary import Summary, summarize
from .trials import Processes, hardware

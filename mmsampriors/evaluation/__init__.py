"""Measuring restored images."""
import mmsampriors.compat  # noqa: F401, I001  (mends mmagic before it is imported)

from .comparison import Comparison, compare_on_pairs, mean_metrics, measure

__all__ = ['Comparison', 'compare_on_pairs', 'mean_metrics', 'measure']

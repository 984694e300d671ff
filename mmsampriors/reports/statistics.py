"""Differences that come in pairs: over seeds, and over images."""

from typing import NamedTuple, Optional, Sequence

import numpy as np
from scipy import stats

RESAMPLES = 10_000


class Interval(NamedTuple):
    """A mean and its 95 % interval, None where there is none to be had.

    Attributes:
        mean (float): Of the differences.
        low, high (float, optional): The interval.
    """

    mean: float
    low: Optional[float] = None
    high: Optional[float] = None


def paired_t(differences: Sequence[float], confidence: float = 0.95) -> Interval:
    """Student's interval of the mean of differences, one a seed; for a single one only the mean."""
    values = np.asarray(differences, float)
    mean = float(values.mean())
    if len(values) < 2:
        return Interval(mean)
    half = float(stats.t.ppf((1 + confidence) / 2, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values)))
    return Interval(mean, mean - half, mean + half)


def bootstrap(differences: Sequence[float], confidence: float = 0.95) -> Interval:
    """Percentile interval of the mean of differences, one an image, by resampling the images; the same each time."""
    values = np.asarray(differences, float)
    if len(values) < 2:
        return Interval(float(values.mean()))
    drawn = np.random.default_rng(0).integers(len(values), size=(RESAMPLES, len(values)))
    low, high = np.quantile(values[drawn].mean(1), [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(float(values.mean()), float(low), float(high))

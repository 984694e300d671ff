"""Intervals over seeds and over images."""

import numpy as np
import pytest
from scipy import stats

from mmsampriors.reports.tables import bootstrap, paired_t


def test_the_paired_interval_is_that_of_scipy():
    prediction, target = np.random.default_rng(0).normal(30, 1, (2, 5))
    interval, expected = paired_t(prediction - target), stats.ttest_rel(prediction, target).confidence_interval(0.95)
    assert interval == pytest.approx(((prediction - target).mean(), expected.low, expected.high))
    assert paired_t([0.5]) == (0.5, None, None)


def test_the_bootstrap_covers_what_the_normal_approximation_does():
    values = np.random.default_rng(0).normal(0.2, 1, 400)
    interval, error = bootstrap(values), values.std() / 20
    assert interval == bootstrap(values)
    assert interval.low == pytest.approx(values.mean() - 1.96 * error, abs=0.2 * error)
    assert interval.high == pytest.approx(values.mean() + 1.96 * error, abs=0.2 * error)
    assert bootstrap([0.5]) == (0.5, None, None)

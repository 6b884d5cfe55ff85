"""Statistics, on numbers."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom

from bench.statistics import MIN_SAMPLES, median_interval, summarise

positive = st.floats(1e-6, 1e6)


@pytest.mark.parametrize(
    ("n", "ranks"), [(6, (1, 6)), (8, (1, 8)), (9, (2, 8)), (10, (2, 9)), (20, (6, 15)), (100, (40, 61))]
)
def test_interval_is_between_the_order_statistics_of_the_tables(n, ranks):
    # Ranks of 95 % intervals of the median as printed in tables of nonparametric statistics.
    assert median_interval(list(range(1, n + 1))) == ranks


@pytest.mark.parametrize("n", range(MIN_SAMPLES, 200))
def test_interval_covers_at_least_95_percent_and_is_the_narrowest_that_does(n):
    low, high = median_interval(list(range(1, n + 1)))
    coverage = binom.cdf(high - 1, n, 0.5) - binom.cdf(low - 1, n, 0.5)
    narrower = binom.cdf(high - 2, n, 0.5) - binom.cdf(low, n, 0.5)
    assert narrower < 0.95 <= coverage


def test_too_few_samples_have_no_interval():
    assert median_interval([1.0] * (MIN_SAMPLES - 1)) is None


@given(st.lists(positive, min_size=MIN_SAMPLES, max_size=50), st.randoms())
def test_interval_holds_the_median_in_any_order(samples, random):
    low, high = median_interval(samples)
    assert low <= np.median(samples) <= high
    random.shuffle(samples)
    assert median_interval(samples) == (low, high)


def test_one_process_is_its_median():
    assert summarise([[3.0, 1.0, 2.0]]) == (2.0, None)


@given(st.lists(st.lists(positive, min_size=1, max_size=30), min_size=2, max_size=5), st.floats(0.1, 10))
def test_several_processes_scale_with_their_unit(processes, factor):
    estimate, (low, high) = summarise(processes)
    assert low <= estimate * (1 + 1e-9)
    assert estimate <= high * (1 + 1e-9)
    scaled, interval = summarise([[sample * factor for sample in process] for process in processes])
    assert scaled == pytest.approx(estimate * factor)
    assert interval == pytest.approx((low * factor, high * factor))


def test_interval_of_several_processes_is_students_of_the_log_medians():
    # t(0.975, 2) = 4.303; logs -1, 0, 1 have the standard deviation 1
    estimate, (low, high) = summarise([[np.exp(-1.0)] * 3, [1.0], [np.exp(1.0), np.exp(1.0)]])
    assert estimate == pytest.approx(1.0)
    assert np.log([low, high]) == pytest.approx([-4.3027 / 3**0.5, 4.3027 / 3**0.5], rel=1e-4)


@pytest.mark.parametrize("processes", [3, 5])
@pytest.mark.parametrize("between", [0.0, 0.05])
def test_interval_of_several_processes_covers_the_truth(processes, between):
    generator = np.random.default_rng(1)
    hits = 0
    for _ in range(400):
        bias = between * generator.standard_normal((processes, 1))
        _, (low, high) = summarise(np.exp(bias + 0.02 * generator.standard_normal((processes, 20))))
        hits += low <= 1.0 <= high
    assert 0.92 <= hits / 400 <= 0.98

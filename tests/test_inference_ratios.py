"""Fieller's interval of a ratio of means."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from sb3_grpo.fairness.inference import ratio_of_means

samples = st.lists(st.floats(0.5, 1.5), min_size=3, max_size=8).filter(lambda values: np.ptp(values) > 1e-3)


def test_a_known_denominator_leaves_students_interval() -> None:
    x = np.array([1.0, 2.0, 4.0, 5.0])
    half = stats.t.ppf(0.975, 3) * stats.sem(x)
    found = ratio_of_means(x, [2.0, 2.0, 2.0])
    assert (found.value, found.low, found.high) == pytest.approx((1.5, (3 - half) / 2, (3 + half) / 2))


@given(samples, samples)
def test_the_limits_solve_fiellers_equation(x: list[float], y: list[float]) -> None:
    found = ratio_of_means(x, y)
    if found.method == "none":
        return
    vx, vy = (np.var(sample, ddof=1) / len(sample) for sample in (x, y))
    r = found.value
    df = (vx + r**2 * vy) ** 2 / (vx**2 / (len(x) - 1) + (r**2 * vy) ** 2 / (len(y) - 1))
    for limit in (found.low, found.high):
        t = (np.mean(x) - limit * np.mean(y)) / np.sqrt(vx + limit**2 * vy)
        assert abs(t) == pytest.approx(stats.t.ppf(0.975, df), rel=1e-6)
    assert found.low <= r <= found.high


@given(samples, samples, st.floats(0.1, 10))
def test_units_play_no_part(x: list[float], y: list[float], factor: float) -> None:
    one, other = ratio_of_means(x, y), ratio_of_means(factor * np.array(x), factor * np.array(y))
    assert (one.value, one.low, one.high) == pytest.approx((other.value, other.low, other.high), nan_ok=True, rel=1e-6)


def test_the_interval_covers() -> None:
    """4000 samples of 5 and 10 with unequal variances; the standard error of the rate is 0.0034."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(0.06, 0.02, (4000, 5)), rng.normal(0.09, 0.01, (4000, 10))
    found = [ratio_of_means(*pair) for pair in zip(x, y, strict=True)]
    assert np.mean([interval.low <= 2 / 3 <= interval.high for interval in found]) == pytest.approx(0.95, abs=0.014)


def test_no_limits_where_the_denominator_may_be_zero() -> None:
    found = ratio_of_means([1.0, 1.1], [-5.0, 5.1])
    assert found.method == "none" and np.isnan(found.low)
    assert np.isnan(ratio_of_means([1.0, 1.1], [-1.0, 1.0]).value)

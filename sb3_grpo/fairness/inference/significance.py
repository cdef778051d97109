"""Tests between two policies or algorithms, corrections for several of them, and standardised effect sizes."""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from scipy import optimize, stats

from sb3_grpo.fairness.inference.results import EPISODE, TRAINING_SEED, Interval, Unit, check_confidence, check_unit, values_of
from sb3_grpo.fairness.metrics import FloatArray

CORRECTIONS: Final = ("holm", "bonferroni")
"""How p values of several tests are corrected; both bound the chance of any false rejection."""


@dataclass(frozen=True)
class SignificanceTest:
    """A two-sided test of "no difference".

    :param difference: mean of the first sample - mean of the second, or the mean of the paired differences
    :param statistic: the test's statistic
    :param p_value: probability of a result at least as extreme without any difference
    :param df: degrees of freedom; NaN for a permutation test
    :param interval: interval of the difference that belongs to the test; "none" for a permutation test
    :param unit: what was drawn independently
    :param n: number of units of each sample
    :param method: name of the test
    """

    difference: float
    statistic: float
    p_value: float
    df: float
    interval: Interval
    unit: Unit
    n: tuple[int, ...]
    method: str


def welch_test(
    first: npt.ArrayLike, second: npt.ArrayLike, unit: Unit = TRAINING_SEED, confidence: float = 0.95
) -> SignificanceTest:
    """Welch's t test of two independent samples, e.g. one number per training of each of two algorithms.

    Two trainings that share a seed number have nothing else in common: they are no pair.

    :param first: (n,) one number per unit
    :param second: (m,)
    :param unit: what was drawn independently
    :param confidence: of the difference's interval
    """
    x, y = values_of(first, "first", 2), values_of(second, "second", 2)
    check_unit(unit)
    check_confidence(confidence)
    return _t_test(
        float(x.mean() - y.mean()), lambda: stats.ttest_ind(x, y, equal_var=False), (x, y), unit, "Welch t", confidence
    )


def paired_t_test(
    first: npt.ArrayLike, second: npt.ArrayLike, unit: Unit = EPISODE, confidence: float = 0.95
) -> SignificanceTest:
    """Student's t test of paired differences, e.g. two policies on the same episodes.

    :param first: (n,) one number per unit
    :param second: (n,) the same units in the same order
    :param unit: what was drawn independently
    :param confidence: of the difference's interval
    """
    x, y = _pairs(first, second)
    check_unit(unit)
    check_confidence(confidence)
    return _t_test(float((x - y).mean()), lambda: stats.ttest_rel(x, y), (x - y,), unit, "paired t", confidence)


def sign_flip_test(
    first: npt.ArrayLike,
    second: npt.ArrayLike,
    rng: np.random.Generator,
    unit: Unit = EPISODE,
    n_resamples: int = 9999,
) -> SignificanceTest:
    """Permutation test of paired differences: without any effect, every difference might as well have the other sign.

    Exact, over all 2^n signs, where those are at most ``n_resamples``; else that many random ones, of which the observed one
    counts as another ((r + 1) / (n_resamples + 1)), so that p is never 0. It assumes differences symmetric about 0 under "no
    effect", nothing else. With n pairs p cannot fall below 2 / 2^n: 5 pairs never reach 0.05.

    :param first: (n,) one number per unit
    :param second: (n,) the same units in the same order
    :param rng: source of the random signs
    :param unit: what was drawn independently
    :param n_resamples: number of random signs
    """
    x, y = _pairs(first, second)
    check_unit(unit)
    if n_resamples < 1:
        raise ValueError(f"n_resamples: got {n_resamples}, expected at least 1")
    n = len(x)
    exact = 2.0**n <= n_resamples
    result = stats.permutation_test(
        (x - y,), np.mean, permutation_type="samples", vectorized=True, n_resamples=n_resamples, batch=10_000, rng=rng
    )
    method = f"sign-flip, all 2^{n}" if exact else f"sign-flip, {n_resamples} random"
    difference = float((x - y).mean())
    none = Interval(difference, np.nan, np.nan, unit, n, "none")
    return SignificanceTest(difference, difference, float(result.pvalue), np.nan, none, unit, (n,), method)


def adjust_p_values(p_values: Sequence[float], correction: str = "holm") -> FloatArray:
    """P values of several tests, corrected so that comparing each with alpha bounds the chance of any false rejection.

    :param p_values: (m,) each in [0, 1]
    :param correction: one of :data:`CORRECTIONS`
    :return: (m,) in the same order
    """
    from statsmodels.stats.multitest import multipletests

    p = values_of(p_values, "p_values", 0)
    if ((p < 0) | (p > 1)).any():
        raise ValueError(f"p_values: got {p.tolist()}, expected numbers in [0, 1]")
    if correction not in CORRECTIONS:
        raise ValueError(f"correction: got {correction!r}, expected one of {CORRECTIONS}")
    if len(p) == 0:
        return p
    return np.asarray(multipletests(p, method=correction)[1], dtype=np.float64)


def cohens_d(first: npt.ArrayLike, second: npt.ArrayLike, unit: Unit = TRAINING_SEED, confidence: float = 0.95) -> Interval:
    """Difference of means in pooled standard deviations of two independent samples.

    The interval inverts the noncentral t distribution: those noncentralities under which the observed t is not extreme. It
    assumes normal samples of equal variance. d grows when units are averages of more patients: say what the unit is.

    :param first: (n,) one number per unit
    :param second: (m,)
    :param unit: what was drawn independently
    :param confidence: confidence level
    """
    x, y = values_of(first, "first", 2), values_of(second, "second", 2)
    n, m = len(x), len(y)
    pooled = np.sqrt(((n - 1) * x.var(ddof=1) + (m - 1) * y.var(ddof=1)) / (n + m - 2))
    return _standardised(float(x.mean() - y.mean()), pooled, np.sqrt(n * m / (n + m)), n + m - 2, unit, n + m, "d", confidence)


def cohens_dz(first: npt.ArrayLike, second: npt.ArrayLike, unit: Unit = EPISODE, confidence: float = 0.95) -> Interval:
    """Mean of paired differences in their own standard deviations; interval as in :func:`cohens_d`.

    :param first: (n,) one number per unit
    :param second: (n,) the same units in the same order
    :param unit: what was drawn independently
    :param confidence: confidence level
    """
    x, y = _pairs(first, second)
    n = len(x)
    return _standardised(float((x - y).mean()), (x - y).std(ddof=1), np.sqrt(n), n - 1, unit, n, "d_z", confidence)


def _t_test(
    difference: float,
    run: Callable[[], Any],
    samples: tuple[FloatArray, ...],
    unit: Unit,
    method: str,
    confidence: float,
) -> SignificanceTest:
    n = tuple(len(sample) for sample in samples)
    if all(np.ptp(sample) <= 1e-12 * max(1.0, float(np.abs(sample).max())) for sample in samples):
        interval = Interval(difference, difference, difference, unit, sum(n), "constant", confidence)
        statistic, p_value = (0.0, 1.0) if difference == 0 else (float(np.copysign(np.inf, difference)), 0.0)
        return SignificanceTest(difference, statistic, p_value, np.nan, interval, unit, n, f"{method}, constant samples")
    with warnings.catch_warnings():
        # The variance of one constant sample is nothing but rounding, and the other's decides
        warnings.filterwarnings("ignore", "Precision loss occurred", RuntimeWarning)
        result = run()
    limits = result.confidence_interval(confidence)
    interval = Interval(difference, float(limits.low), float(limits.high), unit, sum(n), method, confidence)
    return SignificanceTest(
        difference, float(result.statistic), float(result.pvalue), float(result.df), interval, unit, n, method
    )


def _standardised(
    difference: float, spread: float, scale: float, df: int, unit: Unit, n: int, name: str, confidence: float
) -> Interval:
    check_unit(unit)
    check_confidence(confidence)
    if not spread > 0:
        return Interval(np.nan, np.nan, np.nan, unit, n, "none", confidence)
    d = float(difference / spread)
    low, high = (_noncentrality(d * scale, df, level) / scale for level in ((1 + confidence) / 2, (1 - confidence) / 2))
    return Interval(d, low, high, unit, n, f"{name}, noncentral t", confidence)


def _noncentrality(t: float, df: int, level: float) -> float:
    """The noncentrality under which t is exceeded with probability 1 - ``level``."""

    def excess(noncentrality: float) -> float:
        return float(stats.nct.cdf(t, df, noncentrality)) - level

    # In short steps, no further than needed: far from t scipy's distribution function is NaN in places.
    low = high = t
    step = 0.5 + abs(t) / 10
    while excess(low) < 0:
        low -= step
    while excess(high) > 0:
        high += step
    return float(optimize.brentq(excess, low, high))


def _pairs(first: npt.ArrayLike, second: npt.ArrayLike) -> tuple[FloatArray, FloatArray]:
    x, y = values_of(first, "first", 2), values_of(second, "second", 2)
    if len(x) != len(y):
        raise ValueError(f"second: got {len(y)} values, expected {len(x)}, one for each of the same units")
    return x, y

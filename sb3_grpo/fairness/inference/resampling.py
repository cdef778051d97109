"""Resampling whole units: BCa intervals of any statistics of the same units, and the weights of the resamples."""

import warnings
from collections.abc import Callable
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from scipy import stats

from sb3_grpo.fairness.inference.results import Estimate
from sb3_grpo.fairness.metrics import FloatArray

N_RESAMPLES: Final = 9999
"""Default number of resamples: the Monte Carlo error of a 95 % limit is then about 3 % of the interval's half-width."""

_CONSTANT: Final = 1e-12  # a statistic that no left-out episode moves by more than this is a constant
_BATCH: Final = 1000  # resamples at a time: bounds the memory at about 1000 x episodes x 8 bytes


def bootstrap_estimates(
    statistic: Callable[[FloatArray], FloatArray],
    n_units: int,
    rng: np.random.Generator,
    n_resamples: int = N_RESAMPLES,
    confidence: float = 0.95,
) -> list[Estimate]:
    """BCa intervals of K statistics of the same units, resampled jointly.

    :param statistic: maps how often each unit occurs, (R, n_units), to the K numbers of each of the R samples, (K, R)
    :param n_units: number of units (episodes)
    :param rng: source of the resamples
    :param n_resamples: number of resamples
    :param confidence: confidence level
    :return: K estimates; ``method`` says how each interval was obtained
    """
    values = statistic(np.ones((1, n_units)))[:, 0]
    estimates = [Estimate(float(value), np.nan, np.nan, np.nan, "none") for value in values]
    if n_units < 2:
        return estimates
    left_out = statistic(1.0 - np.eye(n_units))  # (K, n_units)
    usable = np.isfinite(values) & np.isfinite(left_out).all(axis=1)
    varies = usable & (np.abs(left_out - values[:, None]).max(axis=1, initial=0.0) > _CONSTANT)
    for k in np.flatnonzero(usable & ~varies):
        estimates[k] = Estimate(float(values[k]), float(values[k]), float(values[k]), 0.0, "constant")
    if not varies.any():
        return estimates

    def of_indices(indices: npt.NDArray[Any], axis: int) -> FloatArray:
        """The varying statistics of resamples given as unit indices along the last axis, as scipy passes them."""
        chosen = np.atleast_2d(indices.astype(np.int64))
        cells = chosen + n_units * np.arange(len(chosen))[:, None]
        weights = np.bincount(cells.ravel(), minlength=len(chosen) * n_units).reshape(len(chosen), n_units)
        numbers = statistic(weights.astype(np.float64))[varies]
        return numbers if indices.ndim > 1 else numbers[:, 0]

    # Where all resamples lie on one side of the value, BCa divides infinity by infinity: answered below, number by number.
    with warnings.catch_warnings(), np.errstate(invalid="ignore"):
        warnings.simplefilter("ignore", stats.DegenerateDataWarning)
        result = stats.bootstrap(
            (np.arange(n_units),),
            of_indices,
            n_resamples=n_resamples,
            batch=min(_BATCH, n_resamples),
            vectorized=True,
            confidence_level=confidence,
            method="BCa",
            rng=rng,
        )
    interval, distribution = result.confidence_interval, np.atleast_2d(result.bootstrap_distribution)
    tails = [(1 - confidence) / 2, (1 + confidence) / 2]
    lower, upper = np.atleast_1d(interval.low), np.atleast_1d(interval.high)
    for row, k in enumerate(np.flatnonzero(varies)):
        resampled = distribution[row]
        if not np.isfinite(resampled).all():
            continue  # a resample in which the group had no demand: there is no interval
        low, high, method = float(lower[row]), float(upper[row]), "BCa"
        if not (np.isfinite(low) and np.isfinite(high)):
            low, high = (float(np.quantile(resampled, tail)) for tail in tails)
            method = "percentile"
        bias = float(resampled.mean() - values[k])
        estimates[k] = Estimate(float(values[k]), low, high, bias, method)
    return estimates


def resample_weights(n_units: int, n_resamples: int, rng: np.random.Generator) -> FloatArray:
    """How often each unit occurs in each resample of ``n_units`` drawn with replacement.

    :param n_units: number of units
    :param n_resamples: number of resamples R
    :param rng: source of the resamples
    :return: (R, n_units), rows sum to ``n_units``
    """
    cells = rng.integers(n_units, size=(n_resamples, n_units)) + n_units * np.arange(n_resamples)[:, None]
    return np.bincount(cells.ravel(), minlength=n_resamples * n_units).reshape(n_resamples, n_units).astype(np.float64)

"""Simultaneous limits of ratios of sums over episodes, and of the smallest of them, which hold when several tie.

The smallest of several estimated rates is not normally distributed, and its plain bootstrap fails where groups tie: the
resampled minimum lies below the estimated one, which already lies below the truth. The rates themselves are well behaved.
So the bootstrap is asked about all rates jointly, and the extremes follow by logic.

A rate is a ratio of sums over episodes, N_k / D_k; a resample of whole episodes gives (rate* - rate) / se* for every rate or
contrast of rates at once (se by linearisation, J. W. Tukey's max-t with the studentised bootstrap of P. Hall, "Theoretical
comparison of bootstrap confidence intervals", Annals of Statistics 16, 1988). For theta = min over p of theta_p:

- ``min_p low_p <= theta`` already if the limit of *the* smallest p holds, whichever that is: limits for each p by itself do;
- ``theta <= min_p high_p`` needs every limit to hold: simultaneous ones.

Each side has half of 1 - confidence, so the interval holds with at least the confidence, ties or not. The best is minus
the smallest of the negative rates, the gap minus the smallest of all differences of two. The change of a minimum between two
policies is min over p of max over q of (new_p - old_q), which keeps the pairing of the same group on the same episodes: its
lower limit is simultaneous in q only, its upper limit, by max over q of min over p, in p only.
"""

from typing import Final, NamedTuple

import numpy as np
from scipy import stats

from sb3_grpo.fairness.inference.resampling import resample_weights
from sb3_grpo.fairness.inference.results import EPISODE, Interval
from sb3_grpo.fairness.metrics import FloatArray, ratio

N_BAND_RESAMPLES: Final = 1999
"""Default number of resamples of a band."""

MIN_EPISODES: Final = 20
"""Below this number of episodes limits are Bonferroni's, from Student's t: so few cannot show their own skewness."""

_BATCH: Final = 500  # resamples at a time: bounds the memory for many groups
_CONSTANT: Final = 1e-12  # a standard error below this is rounding: the number is the same in every episode

MAX_T: Final = "studentised max-t"
BONFERRONI: Final = "Bonferroni t"


class RatioDraws(NamedTuple):
    """K ratios of sums over episodes, and the same for R resamples of the episodes.

    :param value: (K,)
    :param covariance: (K, K) of the estimates, by linearisation
    :param change: (R, K) ratio of the resample - ``value``; NaN where the resample has no denominator
    :param resampled: (R, K, K) covariance as each resample estimates it
    :param n: number of episodes
    """

    value: FloatArray
    covariance: FloatArray
    change: FloatArray
    resampled: FloatArray
    n: int


def ratio_draws(
    numerator: FloatArray, denominator: FloatArray, rng: np.random.Generator, n_resamples: int = N_BAND_RESAMPLES
) -> RatioDraws:
    """Ratios of sums over episodes, with their covariance, for the sample and for resamples of whole episodes.

    The covariance is that of the linearised ratios: (N_e - ratio D_e) / mean D over the episodes e, divided by E - 1.

    :param numerator: (E, K)
    :param denominator: (E, K)
    :param rng: source of the resamples
    :param n_resamples: number of resamples; none are drawn below :data:`MIN_EPISODES`
    :return: the ratios; NaN where the denominator's sum is not positive
    """
    n, k = numerator.shape
    value = ratio(numerator.sum(axis=0), denominator.sum(axis=0))
    # Residuals of the sample's own ratios: the squares below then cancel nothing.
    residual = numerator - value * denominator
    columns = np.concatenate([residual, denominator], axis=1)
    first, second = np.triu_indices(2 * k)
    products = columns[:, first] * columns[:, second]

    def moments(weights: FloatArray) -> tuple[FloatArray, FloatArray]:
        mean = weights @ columns / n
        change = ratio(mean[:, :k], mean[:, k:])
        square = np.empty((len(weights), 2 * k, 2 * k))
        square[:, first, second] = square[:, second, first] = weights @ products / n
        rr, rd, dd = square[:, :k, :k], square[:, :k, k:], square[:, k:, k:]
        crossed = change[:, None, :] * rd
        spread = rr - crossed - crossed.swapaxes(1, 2) + change[:, :, None] * change[:, None, :] * dd
        return change, spread / (mean[:, k:, None] * mean[:, None, k:]) / max(n - 1, 1)

    with np.errstate(invalid="ignore", divide="ignore"):
        covariance = moments(np.ones((1, n)))[1][0]
        parts = [(np.empty((0, k)), np.empty((0, k, k)))]
        if n >= MIN_EPISODES and k:
            sizes = [min(_BATCH, n_resamples - done) for done in range(0, n_resamples, _BATCH)]
            parts = [moments(resample_weights(n, size, rng)) for size in sizes]
    change, resampled = (np.concatenate(part) for part in zip(*parts, strict=True))
    return RatioDraws(value, covariance, change, resampled, n)


def band(draws: RatioDraws, contrasts: FloatArray, confidence: float = 0.95) -> list[Interval]:
    """Simultaneous intervals of contrasts of ratios: all of them hold together with the given confidence.

    All lower limits hold together with probability (1 + confidence) / 2, and so do all upper ones: a skewed sample makes one
    side longer.

    :param draws: the ratios
    :param contrasts: (M, K), each row the factors of one contrast
    :param confidence: confidence level
    :return: one interval per row
    """
    value, error = contrasts @ draws.value, _error(_quadratic(draws.covariance[None], contrasts)[0])
    varies = error > _CONSTANT
    t = _studentised(draws.change @ contrasts.T, _error(_quadratic(draws.resampled, contrasts)))[:, varies]
    tail, n_limits = (1 + confidence) / 2, int(varies.sum())
    below, method = _critical(t.max(axis=1, initial=0.0), tail, n_limits, draws.n)
    above, other = _critical(_lowered(t).max(axis=1, initial=0.0), tail, n_limits, draws.n)
    method = method if method == other else BONFERRONI
    return [
        episode_interval(
            value=float(v),
            low=float(v - below * e),
            high=float(v + above * e),
            method=method if e > _CONSTANT else "constant",
            n=draws.n,
            confidence=confidence,
        )
        for v, e in zip(value, error, strict=True)
    ]


def smallest(draws: RatioDraws, new: FloatArray, old: FloatArray | None = None, confidence: float = 0.95) -> Interval:
    """Interval of the smallest of some contrasts of ratios, or of its difference to the smallest of others.

    :param draws: the ratios
    :param new: (P, K) the contrasts whose smallest is meant
    :param old: (Q, K) the contrasts whose smallest is subtracted; default: 0 is subtracted
    :param confidence: confidence level; each side misses with at most half of the rest
    :return: the interval
    """
    old = np.zeros((1, new.shape[1])) if old is None else old
    tail = (1 + confidence) / 2
    difference = (new @ draws.value)[:, None] - (old @ draws.value)[None]  # (P, Q)
    error = np.empty(difference.shape)
    lower, upper = np.full(difference.shape, np.nan), np.full(difference.shape, np.nan)
    largest_in_q: FloatArray = np.zeros((len(draws.change), len(new)))
    methods = []
    for q, row in enumerate(old):
        contrasts = new - row
        error[:, q] = _error(_quadratic(draws.covariance[None], contrasts)[0])
        varies = error[:, q] > _CONSTANT
        t = _studentised(draws.change @ contrasts.T, _error(_quadratic(draws.resampled, contrasts)))
        t[:, ~varies] = 0.0
        largest_in_q = np.maximum(largest_in_q, t)
        smallest_t = _lowered(t).max(axis=1, initial=0.0)
        factor, method = _critical(smallest_t, tail, int(varies.sum()), draws.n)
        upper[:, q] = difference[:, q] + factor * error[:, q]
        methods.append(method)
    for p in range(len(new)):
        factor, method = _critical(largest_in_q[:, p], tail, int((error[p] > _CONSTANT).sum()), draws.n)
        lower[p] = difference[p] - factor * error[p]
        methods.append(method)
    low, high = float(lower.max(axis=1).min()), float(upper.min(axis=0).max())
    method = "constant" if high - low <= _CONSTANT else BONFERRONI if BONFERRONI in methods else MAX_T
    value = float((new @ draws.value).min() - (old @ draws.value).min())
    return episode_interval(value, low, high, method, draws.n, confidence)


def extremes(
    draws: RatioDraws, n_groups: int, confidence: float, old: FloatArray | None = None
) -> tuple[Interval, Interval, Interval]:
    """Worst, best and gap of the first ``n_groups`` ratios, or their differences to those of the ratios that ``old`` picks."""
    new = np.eye(len(draws.value))[:n_groups]
    nothing = episode_interval(np.nan, np.nan, np.nan, "none", draws.n, confidence)
    if n_groups == 0:
        return nothing, nothing, nothing
    worst = smallest(draws, new, old, confidence)
    best = _negative(smallest(draws, -new, None if old is None else -old, confidence))
    if n_groups < 2:
        return worst, best, nothing
    gap = _negative(smallest(draws, _pairs(new), None if old is None else _pairs(old), confidence))
    return worst, best, gap


def _pairs(rows: FloatArray) -> FloatArray:
    """Every row less every other row: the smallest such difference is minus the gap."""
    first, second = np.nonzero(~np.eye(len(rows), dtype=bool))
    return rows[first] - rows[second]


def _negative(interval: Interval) -> Interval:
    return episode_interval(-interval.value, -interval.high, -interval.low, interval.method, interval.n, interval.confidence)


def _quadratic(covariance: FloatArray, contrasts: FloatArray) -> FloatArray:
    """Variances (R, M) of contrasts (M, K) under covariances (R, K, K)."""
    squares = contrasts[:, :, None] * contrasts[:, None, :]
    flat = (contrasts.shape[1] ** 2,)
    return covariance.reshape(len(covariance), *flat) @ squares.reshape(len(contrasts), *flat).T


def _error(variance: FloatArray) -> FloatArray:
    return np.sqrt(np.maximum(variance, 0.0))


def _studentised(change: FloatArray, error: FloatArray) -> FloatArray:
    """Change / error (R, M); infinite, so as extreme as can be, where a resample has no denominator or no spread."""
    moved = ~(np.abs(change) <= _CONSTANT)
    t = np.divide(change, error, out=np.zeros_like(change), where=error > _CONSTANT)
    return np.where(np.isnan(t) | (moved & ~(error > _CONSTANT)), np.inf, t)


def _lowered(t: FloatArray) -> FloatArray:
    """How far changes go down; what is as extreme as can be stays so."""
    return np.where(np.isinf(t), np.inf, -t)


def _critical(extremes: FloatArray, level: float, n_limits: int, n: int) -> tuple[float, str]:
    """How many standard errors wide limits are.

    :param extremes: (R,) the largest studentised change of each resample, over all that shall hold together
    :param level: probability with which they shall
    :param n_limits: number of limits that shall hold together
    :param n: number of episodes
    """
    if len(extremes):
        factor = float(np.quantile(extremes, level, method="higher"))
        if np.isfinite(factor):
            return factor, MAX_T
    return float(stats.t.ppf(1 - (1 - level) / max(n_limits, 1), max(n - 1, 1))), BONFERRONI


def episode_interval(value: float, low: float, high: float, method: str, n: int, confidence: float) -> Interval:
    """An interval whose unit is the episode; "none" with fewer than two of them or limits that do not exist."""
    if n < 2 or not (np.isfinite(low) and np.isfinite(high)):
        low, high, method = np.nan, np.nan, "none"
    return Interval(value, low, high, EPISODE, n, method, confidence)

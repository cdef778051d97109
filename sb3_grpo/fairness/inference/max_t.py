"""Simultaneous limits of ratios of sums over episodes, and of the smallest of them, which hold when several tie.

The smallest of several estimated rates is not normally distributed, and its plain bootstrap fails where groups tie: the
resampled minimum lies below the estimated one, which already lies below the truth. The rates themselves are well behaved.
So the bootstrap is asked about all rates jointly, and the extremes follow by logic.

A rate is a ratio of sums over episodes, N_k / D_k; a resample of whole episodes gives (rate* - rate) / se* for every rate or
contrast of rates at once (se by linearisation, J. W. Tukey's max-t with the studentised bootstrap of P. Hall, "Theoretical
comparison of bootstrap confidence intervals", Annals of Statistics 16, 1988). For theta = min over p of theta_p:

- ``min_p low_p <= theta`` already if the limit of *the* smallest p holds, whichever that is: limits for each p by itself do;
- ``theta <= min_p high_p`` needs every limit to hold: simultaneous ones.

What is clearly not the smallest need not enter: a tenth of 1 - confidence is spent on leaving it out (as in J. P. Romano,
A. M. Shaikh and M. Wolf, "A practical two-step method for testing moment inequalities", Econometrica 82, 2014). Each side has
half of the rest, so the interval holds with at least the confidence, ties or not. The best is minus the smallest of the
negative rates, the gap minus the smallest of all differences of two. The change of a minimum between two policies is min over
p of max over q of (new_p - old_q), which keeps the pairing of the same group on the same episodes: its lower limit is
simultaneous in q only, its upper limit, by max over q of min over p, in p only.
"""

from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
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

_SELECTION: Final = 0.1  # share of the error probability that is spent on leaving out what is clearly not the smallest

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
    both = np.column_stack([t.max(axis=1, initial=0.0), _lowered(t).max(axis=1, initial=0.0)])
    (below, above), bonferroni = _criticals(both, tail, (n_limits, n_limits), draws.n)
    method = BONFERRONI if bonferroni else MAX_T
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
    value = float((new @ draws.value).min() - (0.0 if old is None else (old @ draws.value).min()))
    spent = _SELECTION * (1 - confidence)
    new = new[_may_be_smallest(draws, new, spent if old is None else spent / 2)]
    old = np.zeros((1, new.shape[1])) if old is None else old[_may_be_smallest(draws, old, spent / 2)]
    tail = 1 - (1 - confidence - spent) / 2
    difference = (new @ draws.value)[:, None] - (old @ draws.value)[None]  # (P, Q)
    error = np.empty(difference.shape)
    # The largest studentised change up over q for each p, and down over p for each q.
    upwards, downwards = np.zeros((len(draws.change), len(new))), np.zeros((len(draws.change), len(old)))
    for q, row in enumerate(old):
        contrasts = new - row
        error[:, q] = _error(_quadratic(draws.covariance[None], contrasts)[0])
        t = _studentised(draws.change @ contrasts.T, _error(_quadratic(draws.resampled, contrasts)))
        t[:, error[:, q] <= _CONSTANT] = 0.0
        upwards = np.maximum(upwards, t)
        downwards[:, q] = _lowered(t).max(axis=1, initial=0.0)
    varies = error > _CONSTANT
    below, bonferroni = _criticals(upwards, tail, varies.sum(axis=1), draws.n)
    above, also = _criticals(downwards, tail, varies.sum(axis=0), draws.n)
    low = float((difference - below[:, None] * error).max(axis=1).min())
    high = float((difference + above * error).min(axis=0).max())
    method = "constant" if high - low <= _CONSTANT else BONFERRONI if bonferroni or also else MAX_T
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


def _may_be_smallest(draws: RatioDraws, rows: FloatArray, risk: float) -> npt.NDArray[np.bool_]:
    """Which contrasts may be the smallest: not above another one by more than Bonferroni's t limit of their difference.

    :param draws: the ratios
    :param rows: (P, K) the contrasts
    :param risk: probability of leaving out the smallest
    :return: (P,)
    """
    if draws.n < 2 or len(rows) == 1:
        return np.ones(len(rows), dtype=np.bool_)
    value, covariance = rows @ draws.value, rows @ draws.covariance @ rows.T
    variance = np.diag(covariance)
    error = _error(variance[:, None] + variance - 2 * covariance)
    factor = float(stats.t.ppf(1 - risk / (len(rows) * (len(rows) - 1)), draws.n - 1))
    above = value[:, None] - value - factor * error
    return np.asarray(~(above > _CONSTANT).any(axis=1))


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


def _criticals(extremes: FloatArray, level: float, n_limits: npt.ArrayLike, n: int) -> tuple[FloatArray, bool]:
    """How many standard errors away limits are, for M sets of limits; each set shall hold with probability ``level``.

    :param extremes: (R, M) the largest studentised change of each resample over the limits of a set
    :param level: the probability
    :param n_limits: (M,) number of limits in each set
    :param n: number of episodes
    :return: (M,), and whether any of them is Bonferroni's for want of resamples that say it
    """
    limits = np.maximum(np.asarray(n_limits), 1)
    bonferroni = np.asarray(stats.t.ppf(1 - (1 - level) / limits, max(n - 1, 1)), dtype=np.float64)
    if not len(extremes):
        return bonferroni, True
    factors = np.quantile(extremes, level, axis=0, method="higher")
    known = np.isfinite(factors)
    return np.where(known, factors, bonferroni), not known.all()


def episode_interval(value: float, low: float, high: float, method: str, n: int, confidence: float) -> Interval:
    """An interval whose unit is the episode; "none" with fewer than two of them or limits that do not exist."""
    if n < 2 or not (np.isfinite(low) and np.isfinite(high)):
        low, high, method = np.nan, np.nan, "none"
    return Interval(value, low, high, EPISODE, n, method, confidence)

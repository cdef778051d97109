"""Fitting lengths of stay: log-normal, with stays that have not ended."""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy import stats

FloatArray = npt.NDArray[np.float64]

LEAST_ENDS: Final = 30
"""Ended stays below which a cell is not fitted."""

QUANTILES: Final = (0.1, 0.25, 0.5, 0.75, 0.9, 0.95)


@dataclass(frozen=True, eq=False)
class StayFit:
    """Stays of one age band and severity.

    :param n: number of stays
    :param ended: of which have ended
    :param mu: mean of the log of the hours
    :param sigma: standard deviation of the log
    :param mean_days: mean stay in days, exp(mu + sigma^2 / 2) / 24
    :param mean_error: its standard error
    :param sigma_error: standard error of sigma
    :param observed: hours at :data:`QUANTILES` by the product limit; infinite where too few stays have ended
    :param fitted: the same under the fit
    :param distance: largest distance between the two distribution functions
    """

    n: int
    ended: int
    mu: float
    sigma: float
    mean_days: float
    mean_error: float
    sigma_error: float
    observed: FloatArray
    fitted: FloatArray
    distance: float


def fit_stays(stay: FloatArray, ended: npt.NDArray[np.bool_]) -> StayFit | None:
    """Fit a log-normal law by maximum likelihood; stays that have not ended are censored on the right.

    :param stay: (N,) hours, > 0
    :param ended: (N,)
    :return: the fit; None with fewer than 30 ended stays or without spread
    """
    if ended.sum() < LEAST_ENDS:
        return None
    logs = np.log(stay)
    if np.ptp(logs[ended]) <= 0:
        return None
    if ended.all():
        mu, sigma = float(logs.mean()), float(logs.std())
    else:
        data = stats.CensoredData(uncensored=logs[ended], right=logs[~ended])
        mu, sigma = map(float, stats.norm.fit(data, loc=logs.mean(), scale=logs.std()))
    n = int(ended.sum())  # the information in censored stays is left out: errors are a little too large
    mean = float(np.exp(mu + sigma**2 / 2) / 24)
    observed_at, survival = product_limit(stay, ended)
    fitted = np.exp(mu + sigma * stats.norm.ppf(QUANTILES))
    return StayFit(
        n=len(stay),
        ended=n,
        mu=mu,
        sigma=sigma,
        mean_days=mean,
        mean_error=mean * float(np.sqrt(sigma**2 / n + sigma**4 / (2 * n))),
        sigma_error=float(sigma / np.sqrt(2 * n)),
        observed=np.array([_quantile(observed_at, survival, level) for level in QUANTILES]),
        fitted=np.asarray(fitted, dtype=np.float64),
        distance=distance(stay, ended, mu, sigma),
    )


def product_limit(stay: FloatArray, ended: npt.NDArray[np.bool_]) -> tuple[FloatArray, FloatArray]:
    """Hours at which stays end, ascending, and the share that lasts longer (Kaplan and Meier)."""
    from statsmodels.duration.survfunc import SurvfuncRight

    survival = SurvfuncRight(stay, ended.astype(np.int64))
    return np.asarray(survival.surv_times, dtype=np.float64), np.asarray(survival.surv_prob, dtype=np.float64)


def _quantile(times: FloatArray, survival: FloatArray, level: float) -> float:
    reached = survival <= 1 - level + 1e-12
    return float(times[int(np.argmax(reached))]) if reached.any() else np.inf


def distance(stay: FloatArray, ended: npt.NDArray[np.bool_], mu: float, sigma: float) -> float:
    """Largest distance between the observed distribution function and a log-normal one, where stays end."""
    times, survival = product_limit(stay, ended)
    fitted = stats.norm.sf((np.log(times) - mu) / sigma)
    before = np.concatenate([[1.0], survival[:-1]])
    return float(max(np.abs(fitted - survival).max(), np.abs(fitted - before).max()))

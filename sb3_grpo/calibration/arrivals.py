"""Fitting arrivals: how many a day, when in the week, and how much days differ."""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]

LEAST_DAYS: Final = 14
"""Whole days below which nothing is fitted: every weekday twice."""

N_RESAMPLES: Final = 400


@dataclass(frozen=True, eq=False)
class ArrivalFit:
    """Arrivals of a hospital.

    :param n: arrivals in whole days
    :param days: number of whole days
    :param requests_per_day: mean arrivals a day, every weekday counting alike
    :param requests_error: its standard error, days taken as independent
    :param profile: (7, 24) shares of a week's arrivals, Monday first
    :param observed: (7, 24) the shares as they were counted, before smoothing
    :param day_effect_cv: coefficient of variation of the day effect
    :param day_effect_error: its standard error (bootstrap of days)
    """

    n: int
    days: int
    requests_per_day: float
    requests_error: float
    profile: FloatArray
    observed: FloatArray
    day_effect_cv: float
    day_effect_error: float


def daily_counts(arrival: FloatArray, stretch: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Arrivals by whole day and hour.

    Days on which a stretch of time begins or ends are left out, as they may not be whole.

    :param arrival: (N,) hours since a Monday 00:00
    :param stretch: (N,) number of the stretch of time
    :return: weekdays of the days (D,), Monday 0, and the counts (D, 24)
    """
    weekdays, tables = [], []
    for number in np.unique(stretch):
        times = arrival[stretch == number]
        first, last = int(np.floor(times.min() / 24)) + 1, int(np.floor(times.max() / 24))
        if last <= first:
            continue
        hours = np.floor(times).astype(np.int64) - 24 * first
        inside = (hours >= 0) & (hours < 24 * (last - first))
        tables.append(np.bincount(hours[inside], minlength=24 * (last - first)).reshape(-1, 24))
        weekdays.append(np.arange(first, last) % 7)
    if not tables:
        return np.zeros(0, dtype=np.int64), np.zeros((0, 24), dtype=np.int64)
    return np.concatenate(weekdays), np.concatenate(tables)


def fit_arrivals(weekday: npt.NDArray[np.int64], counts: npt.NDArray[np.int64], seed: int = 0) -> ArrivalFit | None:
    """Fit arrivals.

    The profile is that of the counts, drawn towards weekday share x hour share where there are few: each hour of the week is
    a gamma factor on that product, its variance found by moments (empirical Bayes). The day effect is what the daily totals
    vary more than Poisson's law lets them: ``var = m (1 + cv^2 m)``.

    :param weekday: (D,) Monday 0
    :param counts: (D, 24)
    :param seed: seed of the bootstrap
    :return: the fit; None with fewer than 14 whole days, a weekday that does not occur, or nobody
    """
    days_of = np.bincount(weekday, minlength=7)
    if len(weekday) < LEAST_DAYS or (days_of == 0).any() or counts.sum() == 0:
        return None
    cells = np.stack([counts[weekday == day].sum(axis=0) for day in range(7)]).astype(np.float64)
    by_day = cells.sum(axis=1) / days_of
    hour_share = cells.sum(axis=0) / cells.sum()
    product = by_day[:, None] * hour_share * days_of[:, None]
    variance = max(float(((cells - product) ** 2 - product).sum() / (product**2).sum()), 0.0)
    factor = np.divide(1 + variance * cells, 1 + variance * product)
    rates = np.where(product > 0, product * factor, 0.0) / days_of[:, None]
    totals = counts.sum(axis=1).astype(np.float64)
    rng = np.random.default_rng(seed)
    resampled = [_day_effect(totals[rows], weekday[rows]) for rows in rng.integers(0, len(totals), (N_RESAMPLES, len(totals)))]
    within = totals - by_day[weekday]
    observed = cells / days_of[:, None]
    return ArrivalFit(
        n=int(counts.sum()),
        days=len(weekday),
        requests_per_day=float(by_day.mean()),
        requests_error=float(np.sqrt((within**2).sum() / (len(totals) - 7) / len(totals))),
        profile=rates / rates.sum(),
        observed=observed / observed.sum(),
        day_effect_cv=_day_effect(totals, weekday),
        day_effect_error=float(np.std(resampled)),
    )


def _day_effect(totals: FloatArray, weekday: npt.NDArray[np.int64]) -> float:
    days_of = np.bincount(weekday, minlength=7)
    mean = (np.bincount(weekday, weights=totals, minlength=7) / np.maximum(days_of, 1))[weekday]
    freedom = len(totals) - int((days_of > 0).sum())
    if freedom <= 0 or not mean.any():
        return 0.0
    squares = ((totals - mean) ** 2).sum() * len(totals) / freedom
    return float(np.sqrt(max((squares - mean.sum()) / (mean**2).sum(), 0.0)))


@dataclass(frozen=True)
class ArrivalCheck:
    """How a fit to early days foretells later ones.

    :param days: number of later days
    :param expected: arrivals expected in them
    :param observed: arrivals in them
    :param error: standard deviation of the observed number under the fit, its own error included
    :param hours: chi-square of the hours of the day per degree of freedom; about 1 if only chance is left
    """

    days: int
    expected: float
    observed: int
    error: float
    hours: float


def check_arrivals(fit: ArrivalFit, weekday: npt.NDArray[np.int64], counts: npt.NDArray[np.int64]) -> ArrivalCheck:
    """Compare a fit with later days.

    :param fit: made from earlier days
    :param weekday: (D,) of the later days
    :param counts: (D, 24) of the later days
    """
    daily = 7 * fit.requests_per_day * fit.profile.sum(axis=1)[weekday]
    expected, observed = float(daily.sum()), int(counts.sum())
    variance = float((daily * (1 + fit.day_effect_cv**2 * daily)).sum()) + (len(weekday) * fit.requests_error) ** 2
    share = fit.profile[weekday].sum(axis=0)
    by_hour = counts.sum(axis=0)
    wanted = observed * share / share.sum()
    return ArrivalCheck(
        days=len(weekday),
        expected=expected,
        observed=observed,
        error=float(np.sqrt(variance)),
        # Two samples are compared: the hours that were fitted to are as uncertain as their number allows.
        hours=float(((by_hour - wanted) ** 2 / np.maximum(wanted, 1e-9)).sum() / 23 / (1 + observed / fit.n)),
    )

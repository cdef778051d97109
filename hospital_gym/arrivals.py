"""When patients arrive: weekly profiles, a non-homogeneous Poisson process with a shared day effect.

The simulator's clock counts hours; hour 0 is a Monday 00:00 and negative hours are the burn-in before it. Replay of recorded
arrivals is in :mod:`hospital_gym.arrival_files`; its names can be imported from here too.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hospital_gym.arrival_files import HOURS_PER_WEEK, ArrivalFile, read_arrivals
from hospital_gym.replay import ReplayedArrivals, replay_window

__all__ = [
    "ENGLAND_PROFILE",
    "FLAT_PROFILE",
    "HOURS_PER_WEEK",
    "PROFILES",
    "UIHC_HOURLY_MEANS",
    "UIHC_PROFILE",
    "ArrivalFile",
    "ReplayedArrivals",
    "draw_arrival_times",
    "hourly_rates",
    "profile_shares",
    "read_arrivals",
    "replay_window",
]

Ramp = Sequence[tuple[float, float]]
"""Knots (day, factor) of a piecewise linear factor on the arrival rate; constant before the first and after the last knot."""


def _read_only(values: ArrayLike) -> NDArray[np.float64]:
    array = np.array(values, dtype=np.float64)
    array.flags.writeable = False
    return array


# fmt: off
ENGLAND_PROFILE: Final = _read_only(np.array([
    [3335.45, 2026.31, 1535.26, 1403.17, 1382.06, 1515.94, 1528.29, 2786.51, 7803.34, 11516.0, 12411.0, 12711.3,
     12022.7, 11193.6, 10582.5, 10374.2, 10671.5, 10414.5, 9639.86, 8079.19, 6768.46, 5453.24, 4309.03, 3343.66],
    [3134.89, 1932.48, 1459.24, 1318.55, 1318.44, 1432.10, 1430.63, 2587.77, 7139.42, 10116.9, 10814.0, 11072.3,
     10622.3, 9904.20, 9486.66, 9310.22, 9635.52, 9456.06, 8983.76, 7597.20, 6429.41, 5154.00, 4102.24, 3233.49],
    [3028.86, 1923.61, 1442.09, 1326.26, 1299.85, 1399.10, 1385.24, 2459.27, 6681.95, 9624.60, 10253.8, 10527.8,
     10133.5, 9545.87, 9211.35, 9030.15, 9340.16, 9183.90, 8712.06, 7479.82, 6339.30, 5176.93, 4157.27, 3261.29],
    [3061.85, 1943.63, 1450.65, 1312.94, 1305.04, 1409.02, 1366.80, 2421.79, 6610.88, 9448.86, 10183.3, 10534.3,
     10172.4, 9559.97, 9186.72, 8953.40, 9275.83, 9093.86, 8532.33, 7305.94, 6292.01, 5129.02, 4092.94, 3214.82],
    [3031.65, 1937.79, 1467.34, 1328.97, 1311.77, 1401.04, 1370.06, 2452.26, 6771.25, 9219.76, 9956.52, 10304.3,
     9915.47, 9451.46, 9188.47, 8995.61, 9463.46, 9171.08, 8250.67, 7049.11, 6127.08, 5110.82, 4199.59, 3441.68],
    [3282.09, 2190.20, 1680.84, 1542.27, 1489.37, 1591.03, 1492.12, 2709.79, 7132.45, 8030.55, 9156.05, 9515.86,
     9152.49, 8779.01, 8577.25, 8404.72, 7902.25, 7460.85, 6728.92, 6139.28, 5735.75, 4943.52, 4233.90, 3545.47],
    [3437.85, 2313.47, 1807.16, 1635.22, 1569.96, 1643.00, 1516.44, 2673.97, 7068.90, 8221.97, 9400.30, 9797.36,
     9386.51, 8890.78, 8502.16, 8153.04, 7730.58, 7397.10, 6784.30, 6367.10, 5831.01, 4955.18, 4044.53, 3277.56],
]) / 1e6)
"""Shares of a week's arrivals by weekday (rows, Monday first) and hour, shape (7, 24), sum 1; written per million.

Unplanned accident-and-emergency attendances in England, financial year 2024-25 (25,822,265 attendances). Source: NHS England,
"Attendances by time of day distribution", Copyright (c) 2025, NHS England. Contains information from NHS England, licensed
under the Open Government Licence v3.0.
"""

UIHC_HOURLY_MEANS: Final = _read_only([
    4.50, 3.82, 3.20, 2.62, 2.22, 2.18, 2.47, 3.50, 5.55, 7.35, 8.56, 9.18,
    9.33, 9.30, 9.36, 9.55, 9.86, 9.94, 9.52, 9.20, 8.51, 7.59, 6.45, 5.30,
])
"""Mean arrivals in each hour of the day, shape (24,): 159 a day.

Emergency department of the University of Iowa Hospital, July 2013 to March 2018, 41,640 hours; computed from the series
described in Peterson and Cavanaugh (2024), doi:10.1177/1471082X231225307.
"""
# fmt: on

UIHC_PROFILE: Final = _read_only(np.tile(UIHC_HOURLY_MEANS / (7 * UIHC_HOURLY_MEANS.sum()), (7, 1)))
"""The Iowa hours on every weekday alike, shape (7, 24).

The day effect of CV 8 % that goes with it was fitted to the daily totals of all weekdays together, so it already contains the
differences between weekdays (Monday 1.08 of the mean, other days 0.97 to 1.01): a weekday factor would count them twice.
"""

FLAT_PROFILE: Final = _read_only(np.full((7, 24), 1 / HOURS_PER_WEEK))
"""The same rate in every hour of the week: what the stationary formulas of queueing theory assume."""

PROFILES: Final[Mapping[str, NDArray[np.float64]]] = MappingProxyType(
    {"england": ENGLAND_PROFILE, "uihc": UIHC_PROFILE, "flat": FLAT_PROFILE}
)
"""Weekly arrival profiles by name."""


def profile_shares(profile: str | ArrayLike) -> NDArray[np.float64]:
    """
    The share of a week's arrivals that falls into each hour.

    :param profile: A key of ``PROFILES``, or an array of shape (7, 24): weekday (Monday first) by hour, non-negative, sum 1.
    :return: A fresh array of shape (7, 24) that sums to 1.
    :raises ValueError: If the name is unknown, or the array has another shape, negative or non-finite entries or another sum.
    """
    accepted = f"one of {', '.join(map(repr, PROFILES))}, or an array of shape (7, 24), non-negative, with sum 1"
    if isinstance(profile, str):
        if profile not in PROFILES:
            raise ValueError(f"profile: got {profile!r}; accepted: {accepted}.")
        shares = np.array(PROFILES[profile])
    else:
        try:
            shares = np.array(profile, dtype=np.float64)
        except (TypeError, ValueError) as error:
            raise ValueError(f"profile: got {profile!r}, which is not an array of numbers; accepted: {accepted}.") from error
        if shares.shape != (7, 24):
            raise ValueError(f"profile: got an array of shape {shares.shape}; accepted: {accepted}.")
        wrong = np.argwhere(~(np.isfinite(shares) & (shares >= 0)))
        if len(wrong):
            day, hour = wrong[0]
            raise ValueError(f"profile[{day}][{hour}]: got {shares[day, hour]}; accepted: {accepted}.")
        if abs(shares.sum() - 1) > 1e-6:
            raise ValueError(f"profile: got an array with sum {shares.sum():.8g}; accepted: {accepted}.")
    return np.asarray(shares / shares.sum())


def hourly_rates(
    requests_per_day: float, profile: str | ArrayLike, ramp: Ramp | None = None, *, start_hour: int, n_hours: int
) -> NDArray[np.float64]:
    """
    Expected arrivals in each hour of a stretch of the simulator's clock.

    Over any whole week the mean, times 24, is ``requests_per_day`` (without a ramp).

    :param requests_per_day: Mean arrivals per day, >= 0.
    :param profile: As for :func:`profile_shares`.
    :param ramp: Knots (day, factor) of a factor on the rate, days ascending: linear between the knots, constant outside,
        evaluated in the middle of each hour. Day 0 begins at hour 0. ``None`` is the factor 1.
    :param start_hour: First hour of the stretch; 0 is a Monday 00:00, negative hours come before it.
    :param n_hours: Length of the stretch in hours, >= 0.
    :return: Expected arrivals per hour, shape (n_hours,).
    :raises ValueError: If an argument is outside its range.
    """
    if not (np.isfinite(requests_per_day) and requests_per_day >= 0):
        raise ValueError(f"requests_per_day: got {requests_per_day}; accepted: a finite number >= 0.")
    hours = _hours(start_hour, n_hours)
    rates = 7 * requests_per_day * profile_shares(profile).ravel()[hours % HOURS_PER_WEEK]
    if ramp is not None:
        days, factors = _knots(ramp)
        rates *= np.interp((hours + 0.5) / 24, days, factors)
    return rates


def draw_arrival_times(
    rates: NDArray[np.float64], day_effect_cv: float, rng: np.random.Generator, start_hour: int
) -> NDArray[np.float64]:
    """
    Arrival times of a non-homogeneous Poisson process whose days share a random factor.

    All hours of a calendar day are multiplied by one gamma variable of mean 1 and coefficient of variation ``day_effect_cv``,
    independent between days; given it, counts per hour are Poisson and times uniform within the hour. So a day's total of mean
    m has the variance m (1 + cv^2 m).

    :param rates: Expected arrivals per hour, shape (n_hours,), as :func:`hourly_rates` gives them.
    :param day_effect_cv: Coefficient of variation of the day effect, 0 to 10; 0 is a Poisson process.
    :param rng: The only source of randomness; use one that nothing else draws from and draw a whole episode at once (two
        halves of a day drawn by two calls would not share their factor).
    :param start_hour: Clock hour at which ``rates`` begins; 0 is a Monday 00:00.
    :return: Arrival times on the simulator's clock, ascending, in hours.
    :raises ValueError: If a rate or the coefficient of variation is outside its range.
    """
    rates = np.asarray(rates, dtype=np.float64)
    if rates.ndim != 1:
        raise ValueError(f"rates: got an array of shape {rates.shape}; accepted: (n_hours,).")
    wrong = np.flatnonzero(~(np.isfinite(rates) & (rates >= 0)))
    if len(wrong):
        raise ValueError(f"rates[{wrong[0]}]: got {rates[wrong[0]]}; accepted: finite numbers >= 0.")
    if not 0 <= day_effect_cv <= 10:
        raise ValueError(f"day_effect_cv: got {day_effect_cv}; accepted: a number from 0 to 10.")
    _check_hours(start_hour, len(rates))
    return place_arrivals(rates, day_effect_cv, rng, start_hour)


def place_arrivals(
    rates: NDArray[np.float64], day_effect_cv: float, rng: np.random.Generator, start_hour: int
) -> NDArray[np.float64]:
    """As :func:`draw_arrival_times`, without its checks: for arguments that were checked when the scenario was made."""
    hours = np.arange(start_hour, start_hour + len(rates))
    # Below 1e-9 the factor cannot be told from 1, and its gamma shape overflows.
    if day_effect_cv > 1e-9 and len(hours):
        days = hours // 24 - hours[0] // 24
        shape = day_effect_cv**-2.0
        rates = rates * rng.gamma(shape, 1 / shape, size=days[-1] + 1)[days]
    counts = rng.poisson(rates)
    return np.sort(np.repeat(hours, counts) + rng.random(counts.sum()))


def _hours(start_hour: int, n_hours: int) -> NDArray[np.int64]:
    _check_hours(start_hour, n_hours)
    return np.arange(start_hour, start_hour + n_hours, dtype=np.int64)


def _check_hours(start_hour: int, n_hours: int) -> None:
    for key, value in (("start_hour", start_hour), ("n_hours", n_hours)):
        if not isinstance(value, (int, np.integer)) or isinstance(value, bool):
            raise ValueError(f"{key}: got {value!r}; accepted: an integer number of hours.")
    if n_hours < 0:
        raise ValueError(f"n_hours: got {n_hours}; accepted: an integer >= 0.")


def _knots(ramp: Ramp) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    accepted = "at least one pair (day, factor), days ascending, factors finite and >= 0"
    try:
        knots = np.array(ramp, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"ramp: got {ramp!r}; accepted: {accepted}.") from error
    if knots.ndim != 2 or knots.shape[1] != 2 or len(knots) == 0:
        raise ValueError(f"ramp: got {ramp!r}; accepted: {accepted}.")
    days, factors = knots.T
    ascending = np.diff(days, prepend=-np.inf) > 0
    wrong = np.flatnonzero(~(np.isfinite(knots).all(axis=1) & ascending & (factors >= 0)))
    if len(wrong):
        raise ValueError(f"ramp[{wrong[0]}]: got {tuple(map(float, knots[wrong[0]]))}; accepted: {accepted}.")
    return days, factors

"""
Arrivals: profiles, rates, and the Poisson process with its day effect.

Statistical tests run on fixed seeds; the error rate in a comment is the chance that a correct implementation would fail on a
fresh seed. One test needs ``HOSPITAL_GYM_DATA``, a folder with ``nhs_ae_by_hour/tidy.csv``; without it it is skipped.
"""

import csv

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from scipy import stats

from hospital_gym.arrivals import (
    ENGLAND_PROFILE,
    PROFILES,
    UIHC_PROFILE,
    draw_arrival_times,
    hourly_rates,
    profile_shares,
)
from hospital_gym.scenarios import SCENARIOS
from tests.recorded_data import needs_data, recorded, steady

# --- profiles and rates ---


@pytest.mark.parametrize("name", PROFILES)
def test_profiles_are_weekly_shares(name: str) -> None:
    assert PROFILES[name].shape == (7, 24)
    assert (PROFILES[name] > 0).all()
    np.testing.assert_allclose(PROFILES[name].sum(), 1, atol=1e-6)
    np.testing.assert_allclose(profile_shares(name).sum(), 1, atol=1e-14)
    with pytest.raises(ValueError, match="read-only"):
        PROFILES[name][0, 0] = 1.0


def test_england_profile_has_the_published_margins() -> None:
    by_weekday = [0.163, 0.148, 0.143, 0.142, 0.141, 0.131, 0.132]
    by_hour = [0.0223, 0.0143, 0.0108, 0.0099, 0.0097, 0.0104, 0.0101, 0.0181, 0.0492, 0.0662, 0.0722, 0.0745]
    by_hour += [0.0714, 0.0673, 0.0647, 0.0632, 0.0640, 0.0622, 0.0576, 0.0500, 0.0435, 0.0359, 0.0291, 0.0233]
    np.testing.assert_allclose(ENGLAND_PROFILE.sum(axis=1), by_weekday, atol=0.0005)
    np.testing.assert_allclose(ENGLAND_PROFILE.sum(axis=0), by_hour, atol=0.00005)


@needs_data
def test_england_profile_is_the_recorded_one() -> None:
    with recorded("nhs_ae_by_hour/tidy.csv").open() as stream:
        attendances = np.array([int(row["attendances"]) for row in csv.DictReader(stream)]).reshape(7, 24)
    assert attendances.sum() == 25_822_265
    np.testing.assert_allclose(ENGLAND_PROFILE, attendances / attendances.sum(), rtol=5e-6)


@pytest.mark.parametrize(
    ("profile", "message"),
    [
        ("wales", r"profile: got 'wales'; accepted: one of 'england', 'uihc', 'flat', or an array of shape \(7, 24\)"),
        (np.full((24, 7), 1 / 168), r"profile: got an array of shape \(24, 7\); accepted: .*\(7, 24\)"),
        (np.full(168, 1 / 168), r"profile: got an array of shape \(168,\)"),
        (np.full((7, 24), 1 / 167), r"profile: got an array with sum 1\.005988; accepted: .*sum 1"),
        (
            np.where(np.arange(168).reshape(7, 24) == 50, -0.1, 1 / 168),
            r"profile\[2\]\[2\]: got -0\.1; accepted: .*non-negative",
        ),
        (np.where(np.arange(168).reshape(7, 24) == 0, np.nan, 1 / 168), r"profile\[0\]\[0\]: got nan"),
        ([["a"] * 24] * 7, "profile: got .* not an array of numbers"),
    ],
)
def test_wrong_profiles_are_refused(profile: str | NDArray[np.float64], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        profile_shares(profile)


profiles = st.one_of(
    st.sampled_from(sorted(PROFILES)),
    hnp.arrays(np.float64, (7, 24), elements=st.floats(0.01, 1)).map(lambda x: x / x.sum()),
)


@steady
@given(profiles, st.just(0.0) | st.floats(1e-3, 500), st.integers(-2000, 2000), st.integers(1, 3))
def test_rates_of_whole_weeks_have_the_requested_mean(
    profile: str | NDArray[np.float64], per_day: float, start_hour: int, weeks: int
) -> None:
    rates = hourly_rates(per_day, profile, start_hour=start_hour, n_hours=168 * weeks)
    assert rates.shape == (168 * weeks,)
    np.testing.assert_allclose(24 * rates.mean(), per_day, rtol=1e-12)


@steady
@given(profiles, st.integers(-500, 500), st.integers(0, 200), st.integers(0, 200))
def test_rates_depend_on_the_clock_only(profile: str | NDArray[np.float64], start_hour: int, first: int, second: int) -> None:
    ramp = [(-3.0, 0.5), (2.0, 1.5), (5.0, 1.0)]
    whole = hourly_rates(30.0, profile, ramp, start_hour=start_hour, n_hours=first + second)
    parts = [
        hourly_rates(30.0, profile, ramp, start_hour=start_hour, n_hours=first),
        hourly_rates(30.0, profile, ramp, start_hour=start_hour + first, n_hours=second),
    ]
    np.testing.assert_array_equal(whole, np.concatenate(parts))


def test_hour_zero_is_monday_midnight() -> None:
    rates = hourly_rates(10.0, "england", start_hour=-168, n_hours=336)
    # 10 a day are 70 a week; Monday 09:00 has 11,516.0 and Sunday 23:00 3,277.56 of a million.
    np.testing.assert_allclose(rates[[9, 168 + 9, 167]], [0.80612, 0.80612, 0.2294292], rtol=1e-6)


def test_ramp_is_linear_between_knots_at_the_middle_of_hours() -> None:
    surge = [(4, 0.8), (9, 1.35), (14, 1.35), (18, 1.0)]
    rates = hourly_rates(24.0, "flat", surge, start_hour=-168, n_hours=168 + 504)
    at = {-168: 0.8, 95: 0.8, 96: 0.8 + 0.55 * (0.5 / 24) / 5, 156: 0.8 + 0.55 * (2.5 + 0.5 / 24) / 5, 300: 1.35, 503: 1.0}
    np.testing.assert_allclose(rates[[168 + hour for hour in at]], list(at.values()), rtol=1e-12)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"requests_per_day": -1.0}, r"requests_per_day: got -1.0; accepted: a finite number >= 0"),
        ({"requests_per_day": np.inf}, r"requests_per_day: got inf"),
        ({"n_hours": -1}, r"n_hours: got -1; accepted: an integer >= 0"),
        ({"start_hour": 0.5}, r"start_hour: got 0.5; accepted: an integer"),
        ({"ramp": []}, r"ramp: got \[\]; accepted: at least one pair \(day, factor\)"),
        ({"ramp": [(0, 1, 2)]}, r"ramp: got \[\(0, 1, 2\)\]"),
        ({"ramp": [(0, 1), (2,)]}, r"ramp: got \[\(0, 1\), \(2,\)\]"),
        ({"ramp": [(0, 1), (0, 2)]}, r"ramp\[1\]: got \(0.0, 2.0\); accepted: .*days ascending"),
        ({"ramp": [(0, 1), (1, -2)]}, r"ramp\[1\]: got \(1.0, -2.0\); accepted: .*factors finite and >= 0"),
    ],
)
def test_wrong_rate_arguments_are_refused(change: dict[str, object], message: str) -> None:
    arguments: dict[str, object] = {"requests_per_day": 1.0, "profile": "flat", "start_hour": 0, "n_hours": 1} | change
    with pytest.raises(ValueError, match=message):
        hourly_rates(**arguments)  # type: ignore[arg-type]


# --- the process ---


def weekly_counts(per_day: float, profile: str, cv: float, weeks: int, seed: int) -> NDArray[np.int64]:
    """Arrivals per hour, shape (weeks, 168), counted from drawn times."""
    rates = hourly_rates(per_day, profile, start_hour=0, n_hours=168 * weeks)
    times = draw_arrival_times(rates, cv, np.random.default_rng(seed), 0)
    return np.bincount(times.astype(np.int64), minlength=168 * weeks).reshape(weeks, 168)


@steady
@given(st.integers(-400, 400), st.integers(0, 100), st.floats(0, 2), st.integers(0, 10))
def test_times_are_sorted_inside_the_stretch_and_reproducible(start_hour: int, n_hours: int, cv: float, seed: int) -> None:
    rates = np.where(np.arange(n_hours) % 3 == 0, 0.0, 2.0)
    times = draw_arrival_times(rates, cv, np.random.default_rng(seed), start_hour)
    assert times.dtype == np.float64
    assert (np.diff(times) >= 0).all()
    hours = np.floor(times).astype(int) - start_hour
    assert ((hours >= 0) & (hours < n_hours)).all()
    assert (rates[hours] > 0).all()
    np.testing.assert_array_equal(times, draw_arrival_times(rates, cv, np.random.default_rng(seed), start_hour))


# At the least requests per day (Rural), the day effect adds 5.5 % to the variance: hence so many days.
@pytest.mark.parametrize("name", SCENARIOS)
def test_daily_totals_have_the_variance_of_the_day_effect(name: str) -> None:
    scenario = SCENARIOS[name]
    cv, n_hours = scenario.day_effect_cv, int(scenario.horizon_hours)
    episode = hourly_rates(scenario.requests_per_day, scenario.profile, scenario.ramp or None, start_hour=0, n_hours=n_hours)
    rates = np.tile(episode, 70_000 * 24 // n_hours)
    mean = rates.reshape(-1, 24).sum(axis=1)
    times = draw_arrival_times(rates, cv, np.random.default_rng(1), 0)
    totals = np.bincount((times // 24).astype(np.int64), minlength=len(mean))
    variance = mean * (1 + cv**2 * mean)
    # Each bound is 4 standard errors: error rate 6e-5. The mean is known to 0.14 % or better: 3 % would be seen.
    standard_error = np.sqrt(variance.mean() / len(mean))
    assert abs((totals - mean).mean()) < 4 * standard_error < 0.01 * mean.mean()
    squares = (totals - mean) ** 2
    squares_error = squares.std() / np.sqrt(len(squares))
    assert abs((squares - variance).mean()) < 4 * squares_error
    # A Poisson process without a day effect would fail.
    assert abs((squares - mean).mean()) > 4 * squares_error


def test_iowa_profile_has_the_recorded_overdispersion() -> None:
    counts = weekly_counts(159.0, "uihc", 0.08, weeks=2000, seed=2)
    # Recorded: 1.04 within hour and weekday. Expected here 1 + 0.08^2 * 159 / 24 = 1.0424, the mean over 168 cells, each known
    # to +-0.033: standard error 0.0026, error rate of +-0.011 below 1e-4. Without a day effect it would be 1.000.
    within_hour = (counts.var(axis=0, ddof=1) / counts.mean(axis=0)).mean()
    assert within_hour == pytest.approx(1.0424, abs=0.011)
    # Recorded: 1.95. Expected here 1 + 0.08^2 * 159 = 2.018; standard error over 14,000 days 0.024, error rate below 1e-9.
    # A factor per hour in place of the shared one would give 1.04, a factor per week the variance of weeks instead of days.
    totals = counts.reshape(-1, 24).sum(axis=1)
    assert 1.8 < totals.var(ddof=1) / totals.mean() < 2.2
    # The hourly means: relative standard error of each at most 0.6 %; 24 bounds of 4.5 of them: error rate 2e-4.
    np.testing.assert_allclose(counts.reshape(-1, 24).mean(axis=0), 7 * 159 * UIHC_PROFILE[0], rtol=0.027)
    # Days are independent: lag-1 correlation 0 +- 4 / sqrt(14,000), error rate 6e-5.
    assert abs(np.corrcoef(totals[:-1], totals[1:])[0, 1]) < 4 / np.sqrt(len(totals))


def test_hours_of_a_calendar_day_share_one_factor() -> None:
    # 10,000 per hour: a count gives its day's factor to 1 %; 36 hours within 5 % of the day's mean: error rate 2e-5.
    times = draw_arrival_times(np.full(36, 1e4), 0.5, np.random.default_rng(3), start_hour=-6)
    counts = np.bincount(np.floor(times).astype(int) + 6)
    days = [counts[:6], counts[6:30], counts[30:]]
    for day in days:
        np.testing.assert_allclose(day, day.mean(), rtol=0.05)
    means = [day.mean() for day in days]
    assert min(abs(means[0] - means[1]), abs(means[1] - means[2])) > 1000


def test_without_day_effect_it_is_a_poisson_process_uniform_within_the_hour() -> None:
    rate = 2.0
    times = draw_arrival_times(np.full(10_000, rate), 0.0, np.random.default_rng(4), 0)
    # Error rate 1e-4 each: exponential gaps, uniform position in the hour.
    assert stats.kstest(np.diff(times) * rate, "expon").pvalue > 1e-4
    assert stats.kstest(times % 1, "uniform").pvalue > 1e-4


@pytest.mark.parametrize(
    ("rates", "cv", "message"),
    [
        ([1.0, -1.0], 0.0, r"rates\[1\]: got -1.0; accepted: finite numbers >= 0"),
        ([np.nan], 0.0, r"rates\[0\]: got nan"),
        ([[1.0]], 0.0, r"rates: got an array of shape \(1, 1\)"),
        ([1.0], -0.1, r"day_effect_cv: got -0.1; accepted: a number from 0 to 10"),
        ([1.0], np.nan, r"day_effect_cv: got nan"),
    ],
)
def test_wrong_draws_are_refused(rates: list[float], cv: float, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        draw_arrival_times(np.array(rates), cv, np.random.default_rng(0), 0)

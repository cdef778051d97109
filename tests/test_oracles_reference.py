"""The exact results of queueing theory, checked against published values, other closed forms and scipy: no simulation here."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, stats

from hospital_gym.arrivals import hourly_rates
from hospital_gym.theory import (
    erlang_b,
    erlang_c,
    exponential_survival,
    log_normal_survival,
    mean_wait_erlang_c,
    mean_waits_priority,
    occupancy_infinite_server,
)

steady = settings(derandomize=True, deadline=None, max_examples=60)


@pytest.mark.parametrize(
    ("beds", "load", "loss", "wait", "stays"),
    [
        # beds, load per bed, Erlang B, Erlang C, mean wait in mean stays
        (40, 0.85, 0.04403, 0.2349, 0.03916),
        (40, 0.90, 0.06537, 0.4116, 0.10289),
        (40, 0.95, 0.08979, 0.6636, 0.33182),
        (60, 0.85, 0.02679, 0.1551, 0.01723),
        (60, 0.90, 0.04585, 0.3246, 0.05409),
        (60, 0.95, 0.06951, 0.5990, 0.19968),
        (120, 0.85, 0.00841, 0.0535, 0.00297),
        (120, 0.90, 0.02163, 0.1811, 0.01509),
        (120, 0.95, 0.04258, 0.4707, 0.07845),
    ],
)
def test_erlang_formulas_give_the_tabulated_values(beds: int, load: float, loss: float, wait: float, stays: float) -> None:
    offered = load * beds
    assert erlang_b(offered, beds) == pytest.approx(loss, abs=5e-6)
    assert erlang_c(offered, beds) == pytest.approx(wait, abs=5e-5)
    assert mean_wait_erlang_c(offered / 108, 108, beds) == pytest.approx(108 * stays, abs=108 * 5e-6)


def test_erlang_formulas_give_the_values_computed_by_hand() -> None:
    assert erlang_b(1.0, 1) == pytest.approx(1 / 2)
    assert erlang_b(1.0, 2) == pytest.approx(1 / 5)  # (1/2) / (1 + 1 + 1/2)
    assert erlang_c(1.0, 2) == pytest.approx(1 / 3)
    assert mean_wait_erlang_c(0.5, 2.0, 2) == pytest.approx(2 / 3)
    # M/M/1 at load 1/2: the wait is the load / (1 - load) stays.
    assert mean_wait_erlang_c(0.1, 5.0, 1) == pytest.approx(5.0)
    assert (erlang_b(0.0, 0), erlang_b(0.0, 3), erlang_c(0.0, 3)) == (1.0, 0.0, 0.0)
    assert (erlang_c(3.0, 3), mean_wait_erlang_c(1.0, 3.0, 3)) == (1.0, np.inf)


@steady
@given(st.floats(0.01, 200), st.integers(1, 200))
def test_erlang_b_is_a_truncated_poisson_probability(offered: float, servers: int) -> None:
    expected = np.exp(stats.poisson.logpmf(servers, offered) - stats.poisson.logcdf(servers, offered))
    np.testing.assert_allclose(erlang_b(offered, servers), expected, rtol=1e-9)


@steady
@given(st.floats(0.05, 0.98), st.integers(1, 60))
def test_erlang_c_is_the_stationary_law_of_the_birth_death_chain(load: float, servers: int) -> None:
    n = 3000  # beyond it the law has no mass left at this load
    steps = np.log(load * servers) - np.log(np.minimum(np.arange(1, n), servers))
    log_law = np.concatenate([[0.0], np.cumsum(steps)])
    law = np.exp(log_law - log_law.max())
    law /= law.sum()
    np.testing.assert_allclose(erlang_c(load * servers, servers), law[servers:].sum(), rtol=1e-9)
    queue = (np.maximum(np.arange(n) - servers, 0) * law).sum()
    np.testing.assert_allclose(mean_wait_erlang_c(load * servers, 1.0, servers), queue / (load * servers), rtol=1e-9)


def test_priority_waits_give_the_values_computed_by_hand() -> None:
    # M/M/1, stay 1, rates 1/4 and 1/4: W_0 = 1/2; classes 1/2 / (1 x 3/4) and 1/2 / (3/4 x 1/2).
    np.testing.assert_allclose(mean_waits_priority([0.25, 0.25], 1.0, 1), [2 / 3, 4 / 3])
    assert mean_waits_priority([0.5, 0.5, 0.1], 1.0, 1) == [pytest.approx(2.0), np.inf, np.inf]


@steady
@given(st.lists(st.floats(0, 1), min_size=1, max_size=4), st.integers(1, 50), st.floats(0.1, 0.95))
def test_priority_moves_waits_but_conserves_their_sum(shares: list[float], servers: int, load: float) -> None:
    shares = [share + 0.01 for share in shares]
    rates = [load * servers * share / sum(shares) for share in shares]
    waits = mean_waits_priority(rates, 1.0, servers)
    assert waits == sorted(waits)
    # Work-conserving orders of equal stays have the same mean queue.
    np.testing.assert_allclose(np.dot(rates, waits), sum(rates) * mean_wait_erlang_c(sum(rates), 1.0, servers), rtol=1e-9)


def test_occupancy_of_exponential_stays_has_its_closed_form() -> None:
    mean, rate = 40.0, 3.0
    hours = np.arange(1, 501)
    occupancy = occupancy_infinite_server(np.full(500, rate), exponential_survival(mean))
    np.testing.assert_allclose(occupancy, rate * mean * (1 - np.exp(-hours / mean)), rtol=1e-12)
    # Arrivals in one hour only: they fade exponentially after it.
    pulse = occupancy_infinite_server(np.eye(1, 100, 10)[0], exponential_survival(mean))
    np.testing.assert_allclose(pulse[:10], 0, atol=1e-15)
    np.testing.assert_allclose(pulse[10:], mean * (np.exp(1 / mean) - 1) * np.exp(-np.arange(1, 91) / mean), rtol=1e-11)


@pytest.mark.parametrize(("mean", "sigma"), [(61.2, 0.51), (97.0, 0.72), (183.8, 0.80), (109.4, 1.01)])
def test_occupancy_of_log_normal_stays_agrees_with_scipy(mean: float, sigma: float) -> None:
    survival = log_normal_survival(mean, sigma)
    law = stats.lognorm(s=sigma, scale=np.exp(np.log(mean) - sigma**2 / 2))
    hours = np.geomspace(0.1, 3000, 50)
    np.testing.assert_allclose(survival(hours), law.sf(hours), rtol=1e-9, atol=1e-14)
    assert law.mean() == pytest.approx(mean)
    # Constant rate: rate x E[min(S, t)], which is known in closed form; in the end rate x mean.
    n = 8000
    times = np.arange(1, n + 1)
    occupancy = occupancy_infinite_server(np.full(n, 1.5), survival)
    standard = (np.log(times) - np.log(mean) + sigma**2 / 2) / sigma
    capped = mean * stats.norm.cdf(standard - sigma) + times * stats.norm.sf(standard)
    np.testing.assert_allclose(occupancy, 1.5 * capped, rtol=1e-9)
    assert occupancy[-1] == pytest.approx(1.5 * mean, rel=1e-4)


def test_occupancy_under_the_england_profile_agrees_with_the_integral() -> None:
    rates = hourly_rates(28.5, "england", start_hour=0, n_hours=336)
    survival = log_normal_survival(105.0, 0.8)
    occupancy = occupancy_infinite_server(rates, survival)
    for end in (1, 9, 100, 336):
        expected = sum(
            rates[end - 1 - k] * integrate.quad(lambda u: float(survival(np.array(u))), k, k + 1)[0] for k in range(end)
        )
        assert occupancy[end - 1] == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: erlang_b(-1.0, 3), r"offered: got -1.0; accepted: a finite load >= 0"),
        (lambda: erlang_b(np.nan, 3), r"offered: got nan"),
        (lambda: erlang_b(1.0, -1), r"servers: got -1; accepted: an integer >= 0"),
        (lambda: erlang_c(1.0, 0), r"servers: got 0; accepted: an integer >= 1"),
        (lambda: erlang_c(1.0, 1.5), r"servers: got 1.5"),  # type: ignore[arg-type]
        (lambda: mean_wait_erlang_c(1.0, 0.0, 2), r"mean_service: got 0.0; accepted: a finite number of hours > 0"),
        (lambda: mean_waits_priority([1.0, -1.0], 1.0, 2), r"arrival_rates\[1\]: got -1.0"),
    ],
)
def test_wrong_arguments_are_refused(call: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()  # type: ignore[operator]

"""
Exact results of queueing theory, against which the simulator is checked.

Rates are per hour and times in hours throughout (any other unit of time will do, if it is used for both).
"""

from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy import special

Survival = Callable[[NDArray[np.float64]], NDArray[np.float64]]
"""P(S > u) of a service time S, for an array of u >= 0."""

# Gauss-Legendre points per hour for the survival function: eight are exact to 1e-12 for stays of a day and more.
_POINTS, _WEIGHTS = np.polynomial.legendre.leggauss(8)


def erlang_b(offered: float, servers: int) -> float:
    """
    Probability that an arrival finds all servers busy where nobody waits (M/G/c/c): Erlang's loss formula.

    It holds for every distribution of the service time with the same mean. Computed by the recursion
    1/B(c) = 1 + (c / offered) / B(c - 1), which is free of cancellation (A. K. Erlang, 1917).

    :param offered: Offered load, arrival rate x mean service time, >= 0.
    :param servers: Number of servers, >= 0.
    :return: A probability.
    :raises ValueError: If an argument is outside its range.
    """
    _check(offered, servers, least_servers=0)
    if offered == 0:
        return 1.0 if servers == 0 else 0.0
    inverse = 1.0
    for k in range(1, servers + 1):
        inverse = 1.0 + inverse * k / offered
    return 1.0 / inverse


def erlang_c(offered: float, servers: int) -> float:
    """
    Probability that an arrival has to wait where everybody waits (M/M/c): Erlang's delay formula.

    :param offered: Offered load, arrival rate x mean service time, >= 0.
    :param servers: Number of servers, >= 1.
    :return: A probability; 1 where the offered load is not below the number of servers and the queue has no limit.
    :raises ValueError: If an argument is outside its range.
    """
    _check(offered, servers, least_servers=1)
    if offered >= servers:
        return 1.0
    blocked = erlang_b(offered, servers)
    return servers * blocked / (servers - offered * (1.0 - blocked))


def mean_wait_erlang_c(arrival_rate: float, mean_service: float, servers: int) -> float:
    """
    Mean wait of all arrivals, also of those who do not wait, in M/M/c in steady state.

    :param arrival_rate: Arrivals per hour, >= 0.
    :param mean_service: Mean of the exponential service time in hours, > 0.
    :param servers: Number of servers, >= 1.
    :return: Hours; infinite where the offered load is not below the number of servers.
    :raises ValueError: If an argument is outside its range.
    """
    return mean_waits_priority([arrival_rate], mean_service, servers)[0]


def mean_waits_priority(arrival_rates: Sequence[float], mean_service: float, servers: int) -> list[float]:
    """
    Mean wait of each class in M/M/c where a free server takes the first of the most urgent class (no interruption).

    W_k = W_0 / ((1 - s_{k-1}) (1 - s_k)) with s_k the load of classes 1 to k per server and W_0 = P(wait) x mean service /
    servers; all classes have the same exponential service time (A. Cobham, Operations Research 2, 1954).

    :param arrival_rates: Arrivals per hour of each class, most urgent first, each >= 0.
    :param mean_service: Mean service time in hours, > 0.
    :param servers: Number of servers, >= 1.
    :return: Hours per class; infinite from the first class on with which the load reaches the number of servers.
    :raises ValueError: If an argument is outside its range.
    """
    if not (np.isfinite(mean_service) and mean_service > 0):
        raise ValueError(f"mean_service: got {mean_service}; accepted: a finite number of hours > 0.")
    for k, rate in enumerate(arrival_rates):
        if not (np.isfinite(rate) and rate >= 0):
            raise ValueError(f"arrival_rates[{k}]: got {rate}; accepted: a finite number >= 0.")
    offered = mean_service * np.cumsum(arrival_rates)
    residual = erlang_c(float(offered[-1]), servers) * mean_service / servers
    load = np.concatenate([[0.0], offered / servers])
    return [float(residual / ((1.0 - before) * (1.0 - up_to))) if up_to < 1 else np.inf for before, up_to in pairwise(load)]


def occupancy_infinite_server(rates: NDArray[np.float64], survival: Survival) -> NDArray[np.float64]:
    """
    Mean number of patients present where there is a bed for everybody (M_t/G/infinity), starting empty.

    m(t) is the integral of rate(t - u) P(S > u) over u from 0 to t, for any arrival rate and any distribution of the stay
    (Eick, Massey and Whitt, Management Science 39, 1993). The rate is constant within each hour, so the integral is a
    convolution with the integrals of the survival function over each hour, taken by Gauss-Legendre quadrature.

    :param rates: Expected arrivals in each hour, shape (n_hours,).
    :param survival: P(S > u), smooth; see :func:`exponential_survival` and :func:`log_normal_survival`.
    :return: Mean occupancy at the **end** of each hour, shape (n_hours,).
    """
    rates = np.asarray(rates, dtype=np.float64)
    hours = np.arange(len(rates))[:, None]
    stays = survival(hours + (_POINTS + 1) / 2) @ (_WEIGHTS / 2)
    return np.convolve(rates, stays)[: len(rates)]


def exponential_survival(mean: float) -> Survival:
    """
    Survival function of an exponential stay.

    :param mean: Hours, > 0.
    """
    return lambda hours: np.exp(-hours / mean)


def log_normal_survival(mean: float, sigma: float) -> Survival:
    """
    Survival function of a log-normal stay: P(S > u) = Phi((mu - ln u) / sigma), mu = ln mean - sigma^2 / 2.

    :param mean: Mean of the stay itself (not of its logarithm) in hours, > 0.
    :param sigma: Standard deviation of its logarithm, > 0.
    """
    mu = np.log(mean) - sigma**2 / 2
    return lambda hours: np.asarray(special.ndtr((mu - np.log(hours)) / sigma))


def _check(offered: float, servers: int, least_servers: int) -> None:
    if not (np.isfinite(offered) and offered >= 0):
        raise ValueError(f"offered: got {offered}; accepted: a finite load >= 0.")
    if servers != int(servers) or servers < least_servers:
        raise ValueError(f"servers: got {servers}; accepted: an integer >= {least_servers}.")

"""Another future of a running episode: everything that has not happened yet, drawn anew given what has.

What a hospital may know at a moment is who arrived, when they worsened, who has been in which bed for how long, how many
arrived today, and who is on duty. Everything else is drawn from its conditional law:

- who arrives later, and when; the day's factor given today's arrivals so far (gamma and Poisson are conjugate);
- the clocks and the later stay of those who wait: exponential clocks have no memory, the stay is not begun;
- the remaining stay of those in beds, given that it is longer than so far;
- absences in later shifts.

The calendar of maintenance and changes of capacity counts as known. Replayed arrivals go on as the scenario's own law.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr, ndtri

from hospital_gym.arrivals import draw_arrival_times
from hospital_gym.groups import Grouping
from hospital_gym.scenarios import Scenario
from hospital_gym.simulator.draws import Draws, draw_patients, episode_hours, episode_rates, nurses_present
from hospital_gym.simulator.layout import EVENT, IN_BED, N_SEVERITIES, WAITING

Floats = npt.NDArray[np.float64]
_BISECTIONS = 60


def redraw_future(
    scenario: Scenario,
    grouping: Grouping,
    constants: Any,
    hospital: Any,
    patients: npt.NDArray[np.void],
    nurses: npt.NDArray[np.int64],
    rng: np.random.Generator,
) -> tuple[Draws, npt.NDArray[np.void]]:
    """Draw what has not happened yet.

    :param scenario: the hospital's numbers
    :param grouping: assigns the groups of those who will arrive
    :param constants: the scenario as the kernel reads it
    :param hospital: the hospital's record; the fields that point to what comes next are changed in place
    :param patients: the patients of the episode; not changed
    :param nurses: nurses present by shift and skill, shape (shifts, 3); not changed
    :param rng: the source of randomness
    :return: patients, nurses and the next maintenance of the new future, and its heap of events, which has room for all
    """
    time, known = float(hospital["time"]), patients[: int(hospital["next_arrival"])].copy()
    _redraw_waiting(scenario, known, time, rng)
    _redraw_stays(scenario, constants["bed_stay"], known, time, rng)
    times = _later_arrivals(scenario, known, time, rng)
    arriving = draw_patients(scenario, grouping, times, rng)
    redrawn = np.concatenate([known, arriving])
    present = nurses.copy()
    later = int(hospital["shift"]) + 1
    present[later:] = nurses_present(scenario, rng)[later:]

    pending = np.flatnonzero(np.isin(known["status"], (IN_BED, WAITING)) & np.isfinite(known["next_change"]))
    order = pending[np.lexsort((pending, known["next_change"][pending]))]  # a sorted list is a heap
    events = np.zeros(2 * len(redrawn) + 1, dtype=EVENT)
    events["time"][: len(order)], events["patient"][: len(order)] = known["next_change"][order], order
    next_arrival = float(times[0]) if len(times) else np.inf
    hospital["n_events"], hospital["n_patients"], hospital["arrival_time"] = len(order), len(redrawn), next_arrival
    if hospital["day_ago"] == len(known):
        hospital["day_ago_time"] = next_arrival
    return Draws(redrawn, present, float(hospital["next_maintenance"])), events


def _redraw_waiting(scenario: Scenario, known: npt.NDArray[np.void], time: float, rng: np.random.Generator) -> None:
    """Clocks, stay and outcome of those who wait, in place."""
    rows = np.flatnonzero(known["status"] == WAITING)
    fresh = draw_patients(scenario, None, known["arrival"][rows], rng, known[rows])
    of_waiting = known[rows]
    for name in ("service_hours", "success_draw"):
        of_waiting[name] = fresh[name]
    severity, so_far = of_waiting["severity"], time - of_waiting["stage_begin"]
    every = np.arange(len(rows))
    for name in ("stage_hours", "patience_hours"):
        clocks = fresh[name]
        clocks[every, severity] += so_far  # memoryless: as much again, counted from now
        is_later = np.arange(N_SEVERITIES) >= severity[:, None]
        of_waiting[name] = np.where(is_later, clocks, of_waiting[name])
    ends = np.minimum(of_waiting["stage_hours"], of_waiting["patience_hours"])[every, severity]
    of_waiting["next_change"] = of_waiting["stage_begin"] + ends
    known[rows] = of_waiting


def _redraw_stays(
    scenario: Scenario, bed_stay: Floats, known: npt.NDArray[np.void], time: float, rng: np.random.Generator
) -> None:
    """What is left of the stays of those in beds, in place."""
    rows = np.flatnonzero(known["status"] == IN_BED)
    occupants = known[rows]
    is_initial = np.isnan(occupants["decided"])
    begin = np.where(is_initial, occupants["arrival"], occupants["decided"])
    so_far = np.maximum(time - begin, 0.0)
    at = (occupants["age_band"], occupants["severity"])
    factor = np.where(is_initial, 1.0, bed_stay[3 * occupants["age_band"] + occupants["severity"], occupants["bed"]])
    mean = 24.0 * np.asarray(scenario.mean_stay_days)[at] * factor
    sigma = np.asarray(scenario.log_sigma_stay)[at]
    uniform = 1.0 - rng.random(len(rows))  # share of the conditional survival, in (0, 1]
    if scenario.service_law == "exponential":
        stay = so_far - mean * np.log(uniform)
    else:
        stay = _lognormal_beyond(mean, sigma, so_far, uniform)
        stay[is_initial] = _residual_beyond(*(a[is_initial] for a in (mean, sigma, so_far, uniform)))
    occupants["stay"], occupants["next_change"] = stay, begin + stay
    occupants["success_draw"] = rng.random(len(rows))
    known[rows] = occupants


def _lognormal_beyond(mean: Floats, sigma: Floats, so_far: Floats, uniform: Floats) -> Floats:
    """A log-normal stay given that it is longer than ``so_far``, by inversion of its survival function; hours, shape (n,)."""
    mu, spread = np.log(mean) - 0.5 * sigma**2, np.maximum(sigma, 1e-12)
    with np.errstate(divide="ignore"):
        passed = (np.log(so_far) - mu) / spread
    stay = np.exp(mu - spread * ndtri(np.maximum(uniform * ndtr(-passed), np.finfo(np.float64).tiny)))
    return np.maximum(stay, so_far)


def _residual_beyond(mean: Floats, sigma: Floats, so_far: Floats, uniform: Floats) -> Floats:
    """What was left, at a random moment, of a log-normal stay, given that it is more than ``so_far``; hours, shape (n,).

    The law of what is left has the density P(stay > r) / mean, so its survival function at r is
    P(biased stay > r) - r P(stay > r) / mean, with log-normal stays of log mean mu and mu + sigma^2. Inverted by bisection.
    """
    mu, spread = np.log(mean) - 0.5 * sigma**2, np.maximum(sigma, 1e-12)

    def survival(hours: Floats) -> Floats:
        with np.errstate(divide="ignore"):
            passed = (np.log(hours) - mu) / spread
        return ndtr(spread - passed) - hours / mean * ndtr(-passed)

    target = uniform * survival(so_far)
    low, high = so_far.copy(), so_far + mean * np.exp(8.0 * spread + spread**2)
    for _ in range(_BISECTIONS):
        middle = 0.5 * (low + high)
        above = survival(middle) > target
        low, high = np.where(above, middle, low), np.where(above, high, middle)
    return 0.5 * (low + high)


def _later_arrivals(scenario: Scenario, known: npt.NDArray[np.void], time: float, rng: np.random.Generator) -> Floats:
    """Times of the arrivals after ``time``, ascending."""
    start, n_hours = episode_hours(scenario)
    rates = episode_rates(scenario)
    hour, midnight = int(np.floor(time)), 24 * int(np.floor(time / 24.0))
    begin = max(float(midnight), -scenario.burn_in_hours)
    hours = start + np.arange(n_hours)
    expected = float(rates @ np.clip(np.minimum(hours + 1.0, time) - np.maximum(hours, begin), 0.0, 1.0))
    seen = int(np.sum((known["arrival"] > begin) & (known["arrival"] <= time)))  # those in beds at the start came at begin
    factor = 1.0
    if scenario.day_effect_cv > 1e-9:
        shape = scenario.day_effect_cv**-2.0
        factor = rng.gamma(shape + seen, 1.0 / (shape + expected))
    first, tomorrow = max(hour - start, 0), max(midnight + 24 - start, 0)
    today = draw_arrival_times(factor * rates[first:tomorrow], 0.0, rng, start + first)
    later = draw_arrival_times(rates[tomorrow:], scenario.day_effect_cv, rng, start + tomorrow)
    return np.concatenate([today[today > time], later])  # those of the hour that has begun are thinned

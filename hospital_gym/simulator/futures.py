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

from hospital_gym.arrivals import place_arrivals
from hospital_gym.groups import Grouping
from hospital_gym.scenarios import Scenario
from hospital_gym.simulator.draws import arrival_rates, draw_arriving, draw_nurses, episode_hours
from hospital_gym.simulator.layout import DEADLINES, DISCHARGES, EVENT, IN_BED, N_SEVERITIES, WAITING

Floats = npt.NDArray[np.float64]
Patients = npt.NDArray[np.void]
Numbers = npt.NDArray[np.int64]
_NEWTON_STEPS = 60
"""At most; six to eight are usual."""


def redraw(
    scenario: Scenario,
    grouping: Grouping,
    constants: Any,
    hospital: Any,
    patients: Patients,
    nurses: npt.NDArray[np.int64],
    rng: np.random.Generator,
) -> tuple[Patients, Floats, npt.NDArray[np.void], npt.NDArray[np.int64]]:
    """Draw what has not happened yet.

    :param scenario: the hospital's numbers
    :param grouping: assigns the groups of those who will arrive
    :param constants: the scenario as the kernel reads it
    :param hospital: the hospital's record; the numbers of patients and of events are changed in place
    :param patients: the patients of the episode; not changed
    :param nurses: nurses present by shift and skill, shape (shifts, 3); not changed
    :param rng: the source of randomness
    :return: patients, times of their arrivals, events and nurses of the new future, as the kernel keeps them
    """
    time, known = float(hospital["time"]), patients[: int(hospital["next_arrival"])].copy()
    waiting, in_bed = np.flatnonzero(known["status"] == WAITING), np.flatnonzero(known["status"] == IN_BED)
    known[waiting], deadlines = _redraw_waiting(scenario, grouping, known[waiting], time, rng)
    known[in_bed], discharges = _redraw_stays(scenario, constants["bed_stay"], known[in_bed], time, rng)
    redrawn = np.concatenate([known, draw_arriving(scenario, grouping, _later_arrivals(scenario, known, time, rng), rng)])
    events = np.empty((2, len(redrawn)), dtype=EVENT)
    hospital["n_patients"] = len(redrawn)
    hospital["n_discharges"], _ = _schedule(events[DISCHARGES], discharges, in_bed)
    hospital["n_deadlines"], order = _schedule(events[DEADLINES], deadlines, waiting)
    redrawn["deadline"][waiting] = -1
    redrawn["deadline"][order] = np.arange(len(order))
    present = nurses.copy()
    later = int(hospital["shift"]) + 1
    present[later:] = draw_nurses(scenario, rng)[later:]
    return redrawn, np.append(redrawn["arrival"], np.inf), events, present


def _schedule(
    events: npt.NDArray[np.void], times: Floats, numbers: npt.NDArray[np.int64]
) -> tuple[int, npt.NDArray[np.int64]]:
    """Write events that ever happen, in order: a sorted list is a heap. Returns how many, and whose they are in that order."""
    order = np.lexsort((numbers, times))[: int(np.isfinite(times).sum())]
    events["time"][: len(order)], events["patient"][: len(order)] = times[order], numbers[order]
    return len(order), numbers[order]


def _redraw_waiting(
    scenario: Scenario, grouping: Grouping, patients: Patients, time: float, rng: np.random.Generator
) -> tuple[Patients, Floats]:
    """Those who wait with other clocks, stay and outcome, and when they worsen, leave or die."""
    fresh = draw_arriving(scenario, grouping, patients["arrival"], rng, patients)
    for name in ("service_hours", "success_draw"):
        patients[name] = fresh[name]
    severity, so_far = patients["severity"], time - patients["stage_begin"]
    every = np.arange(len(patients))
    is_later = np.arange(N_SEVERITIES) >= severity[:, None]
    for name in ("stage_hours", "patience_hours"):
        clocks = fresh[name]
        clocks[every, severity] += so_far  # memoryless: as much again, counted from now
        patients[name] = np.where(is_later, clocks, patients[name])
    ends = np.minimum(patients["stage_hours"], patients["patience_hours"])[every, severity]
    return patients, patients["stage_begin"] + ends


def _redraw_stays(
    scenario: Scenario, bed_stay: Floats, patients: Patients, time: float, rng: np.random.Generator
) -> tuple[Patients, Floats]:
    """Those in beds with what may be left of their stays, and when they go home."""
    is_initial = np.isnan(patients["decided"])
    begin = np.where(is_initial, patients["arrival"], patients["decided"])
    so_far = np.maximum(time - begin, 0.0)
    at = (patients["age_band"], patients["severity"])
    factor = np.where(is_initial, 1.0, bed_stay[3 * patients["age_band"] + patients["severity"], patients["bed"]])
    mean = 24.0 * np.asarray(scenario.mean_stay_days)[at] * factor
    sigma = np.asarray(scenario.log_sigma_stay)[at]
    uniform = 1.0 - rng.random(len(patients))  # share of the conditional survival, in (0, 1]
    if scenario.service_law == "exponential":
        stay = so_far - mean * np.log(uniform)
    else:
        stay = _lognormal_beyond(mean, sigma, so_far, uniform)
        stay[is_initial] = _residual_beyond(*(a[is_initial] for a in (mean, sigma, so_far, uniform)))
    patients["stay"], patients["success_draw"] = stay, rng.random(len(patients))
    return patients, np.maximum(begin + stay, time)


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
    P(biased stay > r) - r P(stay > r) / mean, with log-normal stays of log mean mu and mu + sigma^2. It falls and is convex,
    so Newton's method climbs from ``so_far`` to where it is ``uniform`` times what it is there, and never beyond.
    """
    mu, spread = np.log(mean) - 0.5 * sigma**2, np.maximum(sigma, 1e-12)
    hours = np.maximum(so_far, np.finfo(np.float64).tiny)
    target = np.zeros(len(mean))
    for k in range(_NEWTON_STEPS):
        passed = (np.log(hours) - mu) / spread
        longer = ndtr(-passed)
        survival = ndtr(spread - passed) - hours / mean * longer
        if k == 0:
            target = uniform * survival
        step = np.maximum(survival - target, 0.0) * mean / np.maximum(longer, np.finfo(np.float64).tiny)
        hours = hours + step
        if (step <= 1e-9 * hours).all():
            break
    return hours


def _later_arrivals(scenario: Scenario, known: Patients, time: float, rng: np.random.Generator) -> Floats:
    """Times of the arrivals after ``time``, ascending."""
    start, n_hours = episode_hours(scenario)
    rates = arrival_rates(scenario)
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
    today = place_arrivals(factor * rates[first:tomorrow], 0.0, rng, start + first)
    later = place_arrivals(rates[tomorrow:], scenario.day_effect_cv, rng, start + tomorrow)
    return np.concatenate([today[today > time], later])  # those of the hour that has begun are thinned

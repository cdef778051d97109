"""Everything random in an episode, drawn before it begins.

Episode k of seed s has the same patients, absences and maintenance whatever a policy does: nothing is drawn while it runs.
Each source of randomness has its own stream. A patient's attributes and clocks come from one row of uniform numbers, always
of the same length, so a change to one distribution of a scenario leaves everything else about every patient as it was.
"""

from functools import lru_cache
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.special import ndtri

from hospital_gym.arrival_files import ATTRIBUTES, ArrivalFile
from hospital_gym.arrivals import hourly_rates, place_arrivals
from hospital_gym.groups import Grouping
from hospital_gym.replay import replay_window, window_starts
from hospital_gym.scenarios import Scenario
from hospital_gym.simulator.filling import LAWS, classify, complete
from hospital_gym.simulator.layout import (
    ELDERLY,
    N_AGES,
    N_BEDS,
    N_SEVERITIES,
    PATIENT,
    SHIFT_HOURS,
    for_kernel,
    matched_beds,
    roster_start,
    shift_kind,
)
from hospital_gym.simulator.streams import episode_streams

_STREAMS: Final = ("arrivals", "patients", "staff", "equipment", "start")
_ROW: Final = 13
"""Uniform numbers of one patient: age band, age, sex, quintile, severity, stay, 3 stages, 3 patiences, success."""
_MOST_SCENARIOS: Final = 32
"""Of so many hospitals what every episode needs is kept."""
_AGE_LIMITS: Final = np.array([0.0, 18.0, 65.0, 96.0])
"""Limits of the age bands in years; ages are uniform within a band (the upper end of the last one is assumed)."""
_NOBODY: Final = np.zeros(0)
"""No recorded attributes."""


class Draws(NamedTuple):
    """What is random in one episode.

    :param patients: in order of arrival, those in beds at the start first
    :param nurses: nurses present by shift and skill, shape (shifts, 3)
    :param first_maintenance: hour at which equipment maintenance first begins; infinite if there is none
    """

    patients: npt.NDArray[np.void]
    nurses: npt.NDArray[np.int64]
    first_maintenance: float


def episode_hours(scenario: Scenario) -> tuple[int, int]:
    """First hour of an episode on the simulator's clock and its number of hours, warm-up included: whole hours.

    :param scenario: the hospital
    """
    start = -int(np.ceil(scenario.burn_in_hours))
    return start, int(np.ceil(scenario.horizon_hours)) - start


def count_windows(scenario: Scenario, arrivals: ArrivalFile) -> int:
    """How many episodes a file of arrivals holds; episode k and episode k plus this number replay the same hours.

    :param scenario: the hospital
    :param arrivals: what is replayed
    :raises ValueError: if it holds none, naming the file and the hours needed
    """
    return len(window_starts(arrivals, *episode_hours(scenario)))


def draw_episode(
    scenario: Scenario, grouping: Grouping, seed: int, episode: int, arrivals: ArrivalFile | None = None
) -> Draws:
    """Draw one episode.

    :param scenario: the hospital
    :param grouping: assigns the patients' groups
    :param seed: seed of the sequence of episodes
    :param episode: number of the episode
    :param arrivals: replay these instead of drawing arrival times; attributes they record replace the drawn ones
    """
    streams = episode_streams(seed, episode, _STREAMS)
    start, n_hours = episode_hours(scenario)
    replay = None
    if arrivals is None:
        times = place_arrivals(arrival_rates(scenario), scenario.day_effect_cv, streams["arrivals"], start)
    else:
        replay = replay_window(arrivals, start, n_hours, streams["arrivals"], episode)
        times = replay.times
    first = int(np.searchsorted(times, -scenario.burn_in_hours))  # an hour that began earlier was drawn as a whole
    arriving = streams["patients"].random((len(times), _ROW))[first:]
    rows, beds = _taken_at_start(scenario)
    in_beds = streams["start"].random((sum(scenario.beds), 3 + _ROW))[rows]  # the same number of draws whatever the load
    uniform = np.concatenate([in_beds[:, 3:], arriving])
    patients = np.empty(len(uniform), dtype=PATIENT)
    recorded = [_NOBODY] * 4 if replay is None else [getattr(replay, name)[first:].astype(np.float64) for name in ATTRIBUTES]
    _fill(scenario, grouping, for_kernel(patients), uniform, in_beds, beds, times[first:], recorded)
    maintained = scenario.maintenance_hours > 0 and scenario.equipment_in_maintenance < scenario.equipment
    begins = -scenario.burn_in_hours + float(streams["equipment"].random()) * scenario.maintenance_every
    return Draws(patients, draw_nurses(scenario, streams["staff"]), begins if maintained else np.inf)


def draw_arriving(
    scenario: Scenario,
    grouping: Grouping,
    times: npt.NDArray[np.float64],
    rng: np.random.Generator,
    alike: npt.NDArray[np.void] | None = None,
) -> npt.NDArray[np.void]:
    """Draw patients who arrive at given times.

    :param scenario: the hospital
    :param grouping: assigns their groups
    :param times: hours of arrival, ascending, shape (n,)
    :param rng: the source of randomness
    :param alike: patients whose age, sex and severity at arrival they have, shape (n,); None draws these too
    :return: :data:`~hospital_gym.simulator.layout.PATIENT` records, shape (n,)
    """
    names = ("age", "sex", "severity_arrival")
    recorded = [_NOBODY] * 4 if alike is None else [*(alike[name].astype(np.float64) for name in names), _NOBODY]
    patients = np.empty(len(times), dtype=PATIENT)
    uniform = rng.random((len(times), _ROW))
    _fill(scenario, grouping, for_kernel(patients), uniform, np.empty((0, 3)), np.empty(0, dtype=np.int64), times, recorded)
    return patients


@lru_cache(maxsize=_MOST_SCENARIOS)
def arrival_rates(scenario: Scenario) -> npt.NDArray[np.float64]:
    """Expected arrivals in each hour of an episode, from its first on, shape (hours,); not to be written to.

    :param scenario: the hospital
    """
    start, n_hours = episode_hours(scenario)
    rates = hourly_rates(scenario.requests_per_day, scenario.profile, scenario.ramp or None, start_hour=start, n_hours=n_hours)
    rates.flags.writeable = False
    return rates


@lru_cache(maxsize=_MOST_SCENARIOS)
def _laws(scenario: Scenario) -> npt.NDArray[np.void]:
    """What patients are drawn from; not to be written to."""
    out = np.zeros(1, dtype=LAWS)
    laws = out[0]
    laws["age_limits"], laws["start"] = _AGE_LIMITS, -scenario.burn_in_hours
    laws["age_mix"], laws["severity_mix"] = _cumulative(scenario.age_mix), _cumulative(scenario.severity_mix)
    bed_days = (scenario.class_mix * np.asarray(scenario.mean_stay_days)).ravel()
    for bed in range(N_BEDS):
        laws["in_beds_mix"][bed] = _cumulative(np.where(matched_beds() == bed, bed_days, 0.0))
    laws["male_share"], laws["need_weight"] = scenario.male_share, scenario.need_weight
    laws["exponential"] = scenario.service_law == "exponential"
    sigma = np.asarray(scenario.log_sigma_stay)
    laws["mean_stay"], laws["sigma"] = 24.0 * np.asarray(scenario.mean_stay_days), sigma
    laws["half_variance"], laws["met_factor"] = 0.5 * sigma**2, np.exp(sigma**2)
    laws["stage_hours"], laws["patience_hours"] = scenario.stage_hours, scenario.patience_hours
    laws["slower"] = np.where(np.arange(N_AGES) == ELDERLY, scenario.elderly_factor, 1.0)
    out.flags.writeable = False
    return for_kernel(out)


def _cumulative(shares: npt.ArrayLike) -> npt.NDArray[np.float64]:
    limits = np.cumsum(shares)
    return limits / limits[-1] if limits[-1] > 0 else limits


def _fill(
    scenario: Scenario,
    grouping: Grouping,
    patients: npt.NDArray[np.void],
    uniform: npt.NDArray[np.float64],
    in_beds: npt.NDArray[np.float64],
    beds: npt.NDArray[np.int64],
    times: npt.NDArray[np.float64],
    recorded: list[npt.NDArray[np.float64]],
) -> None:
    """Make patients of uniform numbers and of what a file records.

    The stay met at a random moment by those in beds at the start has the density x f(x) / mean; of it a uniform share is left.
    For a log-normal f that stay is log-normal with mu + sigma^2. The stays in the matched bed for each severity at admission
    are all made of one uniform number a patient.
    """
    laws, (age, sex, severity, hours) = _laws(scenario), recorded
    of_stay = np.concatenate([in_beds[:, 2], uniform[:, 5]])
    exponential = scenario.service_law == "exponential"
    drawn = -np.log1p(-of_stay) if exponential else ndtri(np.maximum(of_stay, np.finfo(np.float64).tiny))
    powers = np.empty(len(beds) + N_SEVERITIES * len(patients))
    classify(laws, uniform, in_beds, beds, age, sex, severity, drawn, patients, powers)
    factors = powers if exponential else np.exp(powers, out=powers)
    logarithms = np.log1p(-uniform[:, 6:12])  # less than 0: unit exponentials with the sign changed
    complete(laws, uniform, in_beds, beds, times, hours, grouping.table, logarithms, factors, patients)


@lru_cache(maxsize=_MOST_SCENARIOS)
def _taken_at_start(scenario: Scenario) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Which beds are taken at the start, and of which type they are; not to be written to.

    The occupancy of a bed type is its offered load, at most ``start_occupancy_cap``.
    """
    factor = 1.0
    if scenario.ramp:
        days, factors = np.transpose(scenario.ramp)
        factor = float(np.interp(-scenario.burn_in_hours / 24.0, days, factors))
    load = np.minimum(scenario.offered_load * factor, scenario.start_occupancy_cap)
    taken = np.array([round(float(load[bed]) * scenario.beds[bed]) for bed in range(N_BEDS)])
    first = np.cumsum((0, *scenario.beds))
    return np.concatenate([first[bed] + np.arange(taken[bed]) for bed in range(N_BEDS)]), np.repeat(np.arange(N_BEDS), taken)


def roster(scenario: Scenario) -> npt.NDArray[np.int64]:
    """Nurses rostered by shift (day, evening, night) and skill, whole numbers by largest remainder, shape (3, 3)."""
    exact = np.outer(scenario.nurses, scenario.skill_mix)
    whole = np.floor(exact + 1e-9).astype(np.int64)
    for shift, total in enumerate(scenario.nurses):
        short = int(total) - int(whole[shift].sum())
        largest = np.argsort(-(exact[shift] - whole[shift]), kind="stable")[:short]
        whole[shift, largest] += 1
    return whole


@lru_cache(maxsize=_MOST_SCENARIOS)
def _rostered(scenario: Scenario) -> npt.NDArray[np.int64]:
    """Nurses rostered in every shift of an episode by skill, shape (shifts, 3); not to be written to."""
    n_shifts = int((scenario.horizon_hours - roster_start(-scenario.burn_in_hours)) // SHIFT_HOURS) + 2
    rostered = roster(scenario)[[shift_kind(k) for k in range(n_shifts)]]
    rostered.flags.writeable = False
    return rostered


def draw_nurses(scenario: Scenario, rng: np.random.Generator) -> npt.NDArray[np.int64]:
    """Rostered nurses less absences that nobody covers, binomial per shift and skill, shape (shifts, 3).

    :param scenario: the hospital
    :param rng: the source of randomness
    """
    rostered = _rostered(scenario)
    return rostered - rng.binomial(rostered, scenario.absence * (1.0 - scenario.absence_covered))

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

from hospital_gym.arrival_files import ArrivalFile
from hospital_gym.arrivals import draw_arrival_times, hourly_rates
from hospital_gym.groups import Grouping
from hospital_gym.replay import replay_window, window_starts
from hospital_gym.scenarios import Scenario
from hospital_gym.simulator.layout import IN_BED, N_BEDS, PATIENT, SHIFT_HOURS, matched_beds, roster_start, shift_kind

_STREAMS: Final = ("arrivals", "patients", "staff", "equipment", "start")
_ROW: Final = 13
"""Uniform numbers of one patient: age band, age, sex, quintile, severity, stay, 3 stages, 3 patiences, success."""
_MOST_SCENARIOS: Final = 32
"""Of so many hospitals what every episode needs is kept."""
_AGE_LIMITS: Final = np.array([0.0, 18.0, 65.0, 96.0])
"""Limits of the age bands in years; ages are uniform within a band (the upper end of the last one is assumed)."""


class Draws(NamedTuple):
    """What is random in one episode.

    :param patients: in order of arrival, those in beds at the start first
    :param nurses: nurses present by shift and skill, shape (shifts, 3)
    :param first_maintenance: hour at which equipment maintenance first begins; infinite if there is none
    """

    patients: npt.NDArray[np.void]
    nurses: npt.NDArray[np.int64]
    first_maintenance: float


def episode_streams(seed: int, episode: int) -> dict[str, np.random.Generator]:
    """The random streams of one episode: the episode's child of the seed sequence, one grandchild per source.

    :param seed: seed of the sequence of episodes, >= 0
    :param episode: number of the episode, >= 0
    """
    return {
        name: np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(episode, k))) for k, name in enumerate(_STREAMS)
    }


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
    streams = episode_streams(seed, episode)
    start, n_hours = episode_hours(scenario)
    replay = None
    if arrivals is None:
        times = draw_arrival_times(episode_rates(scenario), scenario.day_effect_cv, streams["arrivals"], start)
    else:
        replay = replay_window(arrivals, start, n_hours, streams["arrivals"], episode)
        times = replay.times
    inside = times >= -scenario.burn_in_hours
    uniform = streams["patients"].random((len(times), _ROW))[inside]
    attributes = _attributes(scenario, uniform)
    if replay is not None:
        for name in ("age", "sex", "severity"):
            recorded = getattr(replay, name)[inside]
            attributes[name] = np.where(recorded >= 0, recorded, attributes[name])  # NaN and -1 stand for not recorded
        attributes["age_band"] = np.searchsorted(_AGE_LIMITS[1:3], attributes["age"], side="right")
    beds, before, of_those, stays = _in_beds(scenario, streams["start"])
    patients = np.zeros(len(beds) + len(uniform), dtype=PATIENT)
    both = {name: np.concatenate([of_those[name], attributes[name]]) for name in attributes}
    _fill(scenario, grouping, patients, both, np.concatenate([before, uniform]))
    in_beds, arriving = patients[: len(beds)], patients[len(beds) :]
    in_beds["status"], in_beds["bed"], in_beds["arrival"] = IN_BED, beds, -scenario.burn_in_hours
    in_beds["stay"] = stays
    arriving["arrival"] = times[inside]
    if replay is not None:
        hours = replay.service_hours[inside]
        arriving["service_hours"] = np.where(np.isnan(hours)[:, None], arriving["service_hours"], hours[:, None])
    maintained = scenario.maintenance_hours > 0 and scenario.equipment_in_maintenance < scenario.equipment
    first = -scenario.burn_in_hours + float(streams["equipment"].random()) * scenario.maintenance_every
    return Draws(patients, nurses_present(scenario, streams["staff"]), first if maintained else np.inf)


@lru_cache(maxsize=_MOST_SCENARIOS)
def episode_rates(scenario: Scenario) -> npt.NDArray[np.float64]:
    """Expected arrivals in each hour of an episode, from its first on, shape (hours,); not to be written to.

    :param scenario: the hospital
    """
    start, n_hours = episode_hours(scenario)
    rates = hourly_rates(scenario.requests_per_day, scenario.profile, scenario.ramp or None, start_hour=start, n_hours=n_hours)
    rates.flags.writeable = False
    return rates


def _choose(shares: npt.ArrayLike, uniform: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """Indices with these probabilities, by inversion."""
    limits = np.cumsum(shares)
    return np.minimum(np.searchsorted(limits / limits[-1], uniform, side="right"), len(limits) - 1)


def _attributes(
    scenario: Scenario, uniform: npt.NDArray[np.float64], kind: npt.NDArray[np.int64] | None = None
) -> dict[str, npt.NDArray]:
    """Attributes of patients, drawn, or but for age band and severity if ``kind`` is their class already."""
    age_band, severity = np.divmod(kind, 3) if kind is not None else (_choose(scenario.age_mix, uniform[:, 0]), None)
    low, high = _AGE_LIMITS[age_band], _AGE_LIMITS[age_band + 1]
    return {
        "age_band": age_band,
        "age": low + (high - low) * uniform[:, 1],
        "sex": (uniform[:, 2] < scenario.male_share).astype(np.int64),
        "quintile": 1 + np.minimum((5 * uniform[:, 3]).astype(np.int64), 4),
        "severity": _choose(scenario.severity_mix, uniform[:, 4]) if severity is None else severity,
    }


def service_hours(
    scenario: Scenario, age_band: npt.NDArray[np.integer], uniform: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Stay in the matched bed in hours for each severity at admission, shape (n, 3), all from one uniform number a patient.

    :param age_band: shape (n,)
    :param uniform: shape (n,)
    """
    mean = 24.0 * np.asarray(scenario.mean_stay_days)[age_band]
    if scenario.service_law == "exponential":
        return -mean * np.log1p(-uniform)[:, None]
    sigma = np.asarray(scenario.log_sigma_stay)[age_band]
    normal = ndtri(np.maximum(uniform, np.finfo(np.float64).tiny))
    return mean * np.exp(sigma * normal[:, None] - 0.5 * sigma**2)


def _fill(
    scenario: Scenario,
    grouping: Grouping | None,
    patients: npt.NDArray[np.void],
    attributes: dict[str, npt.NDArray],
    uniform: npt.NDArray[np.float64],
) -> None:
    age_band, severity = attributes["age_band"], attributes["severity"]
    for name in ("age", "age_band", "sex", "quintile"):
        patients[name] = attributes[name]
    patients["severity_arrival"] = patients["severity"] = severity
    if grouping is not None:
        patients["group"] = grouping.assign(attributes)
    patients["demand"] = np.asarray(scenario.need_weight)[severity]
    patients["service_hours"] = service_hours(scenario, age_band, uniform[:, 5])
    slower = np.where(age_band == len(_AGE_LIMITS) - 2, scenario.elderly_factor, 1.0)
    clocks = -np.log1p(-uniform[:, 6:12])  # unit exponentials
    patients["stage_hours"] = clocks[:, :3] * np.asarray(scenario.stage_hours) * slower[:, None]
    patience = np.asarray(scenario.patience_hours)
    finite = np.isfinite(patience)
    patients["patience_hours"] = np.where(finite, clocks[:, 3:] * np.where(finite, patience, 1.0), np.inf)
    patients["success_draw"] = uniform[:, 12]
    patients["decided"] = np.nan
    patients["bed"] = -1


def draw_patients(
    scenario: Scenario,
    grouping: Grouping | None,
    times: npt.NDArray[np.float64],
    rng: np.random.Generator,
    known: npt.NDArray[np.void] | None = None,
) -> npt.NDArray[np.void]:
    """Patients who arrive at these times.

    :param scenario: the hospital
    :param grouping: assigns the groups; None leaves them 0
    :param times: hours of arrival, shape (n,)
    :param rng: the source of randomness
    :param known: patients whose attributes are kept, shape (n,); None draws them
    :return: :data:`~hospital_gym.simulator.layout.PATIENT` records, shape (n,)
    """
    uniform = rng.random((len(times), _ROW))
    attributes = _attributes(scenario, uniform)
    if known is not None:
        attributes = {name: known[name] for name in attributes if name != "severity"}
        attributes["severity"] = known["severity_arrival"]
    patients = np.zeros(len(times), dtype=PATIENT)
    _fill(scenario, grouping, patients, attributes, uniform)
    patients["arrival"] = times
    return patients


@lru_cache(maxsize=_MOST_SCENARIOS)
def _taken_at_start(scenario: Scenario) -> tuple[npt.NDArray[np.int64], tuple[npt.NDArray[np.float64], ...]]:
    """How many beds of each type are taken at the start, and the shares of the classes among those in them."""
    factor = 1.0
    if scenario.ramp:
        days, factors = np.transpose(scenario.ramp)
        factor = float(np.interp(-scenario.burn_in_hours / 24.0, days, factors))
    load = np.minimum(scenario.offered_load * factor, scenario.start_occupancy_cap)
    taken = np.array([round(float(load[bed]) * scenario.beds[bed]) for bed in range(N_BEDS)])
    bed_days = (scenario.class_mix * np.asarray(scenario.mean_stay_days)).ravel()
    return taken, tuple(np.where(matched_beds() == bed, bed_days, 0.0) for bed in range(N_BEDS))


def _in_beds(
    scenario: Scenario, rng: np.random.Generator
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64], dict[str, npt.NDArray], npt.NDArray[np.float64]]:
    """Patients in matched beds at the start, with what is left of stays that an observer meets in proportion to their length.

    The occupancy of a bed type is its offered load, at most ``start_occupancy_cap``. The stay met at a random moment has the
    density x f(x) / mean; of it a uniform share is left. For a log-normal f that stay is log-normal with mu + sigma^2.

    :return: their beds, uniform numbers, attributes, and the hours left
    """
    uniform = rng.random((sum(scenario.beds), 3 + _ROW))  # the same number of draws whatever the load
    taken, shares = _taken_at_start(scenario)
    first = np.cumsum((0, *scenario.beds))
    rows = np.concatenate([uniform[first[bed] : first[bed] + taken[bed]] for bed in range(N_BEDS)])
    beds = np.repeat(np.arange(N_BEDS), taken)
    kind = np.concatenate([_choose(shares[bed], rows[beds == bed, 0]) for bed in range(N_BEDS) if taken[bed]] or [beds])
    attributes = _attributes(scenario, rows[:, 3:], kind)
    if scenario.service_law == "exponential":  # memoryless: what is left is exponential again
        stays = service_hours(scenario, attributes["age_band"], rows[:, 2])[np.arange(len(rows)), attributes["severity"]]
    else:
        stays = rows[:, 1] * _stay_met(scenario, attributes["age_band"], attributes["severity"], rows[:, 2])
    return beds, rows[:, 3:], attributes, stays


def _stay_met(
    scenario: Scenario, age_band: npt.NDArray[np.integer], severity: npt.NDArray[np.integer], uniform: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Length in hours of a log-normal stay met at a random moment, shape (n,)."""
    hours = service_hours(scenario, age_band, uniform)[np.arange(len(uniform)), severity]
    return hours * np.exp(np.asarray(scenario.log_sigma_stay)[age_band, severity] ** 2)


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


def nurses_present(scenario: Scenario, rng: np.random.Generator) -> npt.NDArray[np.int64]:
    """Rostered nurses less absences that nobody covers, binomial per shift and skill, shape (shifts, 3).

    :param scenario: the hospital
    :param rng: the source of randomness
    """
    rostered = _rostered(scenario)
    return rostered - rng.binomial(rostered, scenario.absence * (1.0 - scenario.absence_covered))

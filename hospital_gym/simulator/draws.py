"""Everything random in an episode, drawn before it begins.

Episode k of seed s has the same patients, absences and maintenance whatever a policy does: nothing is drawn while it runs.
Each source of randomness has its own stream. A patient's attributes and clocks come from one row of uniform numbers, always
of the same length, so a change to one distribution of a scenario leaves everything else about every patient as it was.
"""

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
        ramp = scenario.ramp or None
        rates = hourly_rates(scenario.requests_per_day, scenario.profile, ramp, start_hour=start, n_hours=n_hours)
        times = draw_arrival_times(rates, scenario.day_effect_cv, streams["arrivals"], start)
    else:
        replay = replay_window(arrivals, start, n_hours, streams["arrivals"], episode)
        times = replay.times
    inside = times >= -scenario.burn_in_hours
    patients = np.zeros(int(inside.sum()), dtype=PATIENT)
    patients["arrival"] = times[inside]
    uniform = streams["patients"].random((len(times), _ROW))[inside]
    attributes = _attributes(scenario, uniform)
    if replay is not None:
        for name in ("age", "sex", "severity"):
            recorded = getattr(replay, name)[inside]
            attributes[name] = np.where(recorded >= 0, recorded, attributes[name])  # NaN and -1 stand for not recorded
        attributes["age_band"] = np.searchsorted(_AGE_LIMITS[1:3], attributes["age"], side="right")
    _fill(scenario, grouping, patients, attributes, uniform)
    if replay is not None:
        hours = replay.service_hours[inside]
        patients["service_hours"] = np.where(np.isnan(hours)[:, None], patients["service_hours"], hours[:, None])
    maintained = scenario.maintenance_hours > 0 and scenario.equipment_in_maintenance < scenario.equipment
    first = -scenario.burn_in_hours + float(streams["equipment"].random()) * scenario.maintenance_every
    return Draws(
        np.concatenate([_in_beds(scenario, grouping, streams["start"]), patients]),
        _nurses_present(scenario, streams["staff"]),
        first if maintained else np.inf,
    )


def _choose(shares: npt.ArrayLike, uniform: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """Indices with these probabilities, by inversion."""
    limits = np.cumsum(shares)
    return np.minimum(np.searchsorted(limits / limits[-1], uniform, side="right"), len(limits) - 1)


def _attributes(scenario: Scenario, uniform: npt.NDArray[np.float64]) -> dict[str, npt.NDArray]:
    age_band = _choose(scenario.age_mix, uniform[:, 0])
    low, high = _AGE_LIMITS[age_band], _AGE_LIMITS[age_band + 1]
    return {
        "age_band": age_band,
        "age": low + (high - low) * uniform[:, 1],
        "sex": (uniform[:, 2] < scenario.male_share).astype(np.int64),
        "quintile": 1 + np.minimum((5 * uniform[:, 3]).astype(np.int64), 4),
        "severity": _choose(scenario.severity_mix, uniform[:, 4]),
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
    grouping: Grouping,
    patients: npt.NDArray[np.void],
    attributes: dict[str, npt.NDArray],
    uniform: npt.NDArray[np.float64],
) -> None:
    age_band, severity = attributes["age_band"], attributes["severity"]
    for name in ("age", "age_band", "sex", "quintile"):
        patients[name] = attributes[name]
    patients["severity_arrival"] = patients["severity"] = severity
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


def _in_beds(scenario: Scenario, grouping: Grouping, rng: np.random.Generator) -> npt.NDArray[np.void]:
    """Patients in matched beds at the start, with what is left of stays that an observer meets in proportion to their length.

    The occupancy of a bed type is its offered load, at most ``start_occupancy_cap``. The stay met at a random moment has the
    density x f(x) / mean; of it a uniform share is left. For a log-normal f that stay is log-normal with mu + sigma^2.
    """
    uniform = rng.random((sum(scenario.beds), 3 + _ROW))  # the same number of draws whatever the load
    factor = 1.0
    if scenario.ramp:
        days, factors = np.transpose(scenario.ramp)
        factor = float(np.interp(-scenario.burn_in_hours / 24.0, days, factors))
    load = np.minimum(scenario.offered_load * factor, scenario.start_occupancy_cap)
    bed_days = scenario.class_mix * np.asarray(scenario.mean_stay_days)
    parts, first = [], 0
    for bed in range(N_BEDS):
        n = round(float(load[bed]) * scenario.beds[bed])
        rows = uniform[first : first + n]
        first += scenario.beds[bed]
        if n == 0:
            continue
        kind = _choose(np.where(matched_beds() == bed, bed_days.ravel(), 0.0), rows[:, 0])
        attributes = _attributes(scenario, rows[:, 3:])
        attributes["age_band"], attributes["severity"] = np.divmod(kind, 3)
        low, high = _AGE_LIMITS[attributes["age_band"]], _AGE_LIMITS[attributes["age_band"] + 1]
        attributes["age"] = low + (high - low) * rows[:, 4]
        part = np.zeros(n, dtype=PATIENT)
        _fill(scenario, grouping, part, attributes, rows[:, 3:])
        part["stay"] = rows[:, 1] * _stay_met(scenario, attributes["age_band"], attributes["severity"], rows[:, 2])
        if scenario.service_law == "exponential":  # memoryless: what is left is exponential again
            part["stay"] = service_hours(scenario, attributes["age_band"], rows[:, 2])[np.arange(n), attributes["severity"]]
        part["status"], part["bed"], part["arrival"] = IN_BED, bed, -scenario.burn_in_hours
        parts.append(part)
    return np.concatenate(parts) if parts else np.zeros(0, dtype=PATIENT)


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


def _nurses_present(scenario: Scenario, rng: np.random.Generator) -> npt.NDArray[np.int64]:
    """Rostered nurses less absences that nobody covers, binomial per shift and skill, shape (shifts, 3)."""
    n_shifts = int((scenario.horizon_hours - roster_start(-scenario.burn_in_hours)) // SHIFT_HOURS) + 2
    kinds = [shift_kind(k) for k in range(n_shifts)]
    rostered = roster(scenario)[kinds]
    return rostered - rng.binomial(rostered, scenario.absence * (1.0 - scenario.absence_covered))

"""How loaded a hospital is: what is asked of its beds and nurses, and what the triage rule makes of it."""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from hospital_gym.arrivals import HOURS_PER_WEEK, hourly_rates
from hospital_gym.scenarios import Scenario
from hospital_gym.simulator.layout import FIRST_SHIFT, N_BEDS, SHIFT_HOURS, build_constants, roster_start, shift_kind
from hospital_gym.simulator.simulator import Simulator
from hospital_gym.theory import exponential_survival, log_normal_survival, occupancy_infinite_server

SHIFT_NAMES: Final = ("day", "evening", "night")
_WARM_UP_WEEKS: Final = 30  # the longest mean stay is some eight days: nothing of the empty start is left by then

Floats = npt.NDArray[np.float64]


def offered_load_by_shift(scenario: Scenario) -> Floats:
    """Beds asked for per regular bed, by matched bed type and shift, if everybody got a bed at once.

    The mean occupancy of a hospital without limits under the weekly arrival profile (M_t/G/infinity), averaged over the hours
    of each shift of a week; a ramp is left out. The mean over the shifts is ``scenario.offered_load``.

    :param scenario: the hospital
    :return: shape (3, 3), bed types general, paediatric, critical by shifts day, evening, night; infinite without beds
    """
    n_hours = _WARM_UP_WEEKS * HOURS_PER_WEEK
    rates = hourly_rates(scenario.requests_per_day, scenario.profile, start_hour=-n_hours, n_hours=n_hours)
    occupancy = np.zeros((N_BEDS, HOURS_PER_WEEK))
    matched = build_constants(scenario)[0]["matched"].reshape(3, 3)
    for age, severity in np.ndindex(3, 3):
        mean = 24.0 * scenario.mean_stay_days[age][severity]
        sigma = scenario.log_sigma_stay[age][severity]
        exponential = scenario.service_law == "exponential"
        survival = exponential_survival(mean) if exponential else log_normal_survival(mean, max(sigma, 1e-9))
        share = scenario.class_mix[age, severity]
        occupancy[matched[age, severity]] += occupancy_infinite_server(share * rates, survival)[-HOURS_PER_WEEK:]
    # Occupancies stand for the ends of hours; the hour that ends at h belongs to the shift that covers h - 1/2.
    middles = np.arange(HOURS_PER_WEEK) + 0.5
    shift_of_hour = np.array([shift_kind(int((middle - FIRST_SHIFT) // SHIFT_HOURS)) for middle in middles])
    by_shift = np.stack([occupancy[:, shift_of_hour == shift].mean(axis=1) for shift in range(3)], axis=1)
    beds = np.asarray(scenario.beds, dtype=np.float64)[:, None]
    return np.divide(by_shift, beds, out=np.where(by_shift > 0, np.inf, 0.0), where=beds > 0)


@dataclass(frozen=True)
class Workload:
    """What the triage rule makes of a hospital, over the time under control of several episodes.

    :param decisions: mean number of decisions of an episode
    :param patients: mean number of arrivals under control
    :param bed_use: occupied bed-hours / open bed-hours (surge beds included) by bed type, (3,); NaN without beds
    :param nurse_use: nurse-hours needed by those in beds / nurse-hours of the rostered nurses present, by shift, (3,); above 1
        where nurses who came by a lever (overtime, surge beds) helped, or absence left too few
    :param most_patients: largest number of patients in beds and queues at one moment
    """

    decisions: float
    patients: float
    bed_use: Floats
    nurse_use: Floats
    most_patients: int


def triage_workload(scenario: Scenario, n_episodes: int, seed: int) -> Workload:
    """Run the triage rule and measure.

    :param scenario: the hospital
    :param n_episodes: number of episodes, at least 1
    :param seed: seed of the episodes
    :return: the measures
    :raises ValueError: if ``n_episodes`` is smaller than 1
    """
    if n_episodes < 1:
        raise ValueError(f"n_episodes: got {n_episodes}, expected at least 1")
    simulator = Simulator(scenario)
    constants = build_constants(scenario)[0]
    used, opened, decisions, patients, most = np.zeros(N_BEDS), np.zeros(N_BEDS), 0, 0, 0
    needed, present = np.zeros(3), np.zeros(3)
    for episode in range(n_episodes):
        simulator.reset(seed, episode)
        before = simulator.state
        used -= before.bed_hours
        opened -= before.capacity_hours
        decisions -= int(before.decisions)
        simulator.run_triage()
        after = simulator.state
        used += after.bed_hours
        opened += after.capacity_hours
        decisions += int(after.decisions)
        known = simulator.patients[: int(after.next_arrival)]
        patients += int((known.arrival >= 0).sum())
        begin, end = _time_in_bed(known, simulator.time)
        most = max(most, _most_at_once(known, end))
        care = constants["care"][3 * known.age_band + known.severity]
        for shift, on_duty in enumerate(simulator.nurses.sum(axis=1)):
            since, until, kind = _under_control(shift, scenario)
            hours = np.clip(np.minimum(end, until) - np.maximum(begin, since), 0.0, None)
            needed[kind] += scenario.shift_need[kind] * float((care * hours).sum())
            present[kind] += float(on_duty) * (until - since)
    return Workload(decisions / n_episodes, patients / n_episodes, _ratio(used, opened), _ratio(needed, present), most)


def _under_control(shift: int, scenario: Scenario) -> tuple[float, float, int]:
    """Begin and end of the part of a shift that lies under control (equal if none does), and its kind."""
    begin = roster_start(-scenario.burn_in_hours) + shift * SHIFT_HOURS
    since, until = max(begin, 0.0), min(begin + SHIFT_HOURS, scenario.horizon_hours)
    return since, max(since, until), shift_kind(shift)


def _time_in_bed(patients: Any, now: float) -> tuple[Floats, Floats]:
    """When each patient's stay in a bed begins and ends, at most now; equal for those who had none."""
    in_bed = patients.bed >= 0
    begin = np.where(np.isnan(patients.decided), patients.arrival, patients.decided)  # in a bed from the start: no decision
    return begin, np.where(in_bed, np.minimum(begin + patients.stay, now), begin)


def _most_at_once(patients: Any, end: Floats) -> int:
    """Largest number present at one moment under control; departures count before arrivals of the same moment."""
    waiting = np.isnan(patients.decided) & (patients.bed < 0)
    leave = np.where(waiting, np.inf, end)
    times = np.concatenate([patients.arrival, leave])
    change = np.concatenate([np.ones(len(leave), dtype=np.int64), np.full(len(leave), -1)])
    order = np.lexsort((change, times))
    present = np.cumsum(change[order])
    return int(present[times[order] >= 0].max(initial=0))


def _ratio(part: Floats, whole: Floats) -> Floats:
    return np.divide(part, whole, out=np.full(len(part), np.nan), where=whole > 0)

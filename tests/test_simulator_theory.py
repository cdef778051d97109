"""
The simulator against exact results: Erlang C and B, priority waits, time-varying occupancy, Little's law, and Ciw.

Every oracle is a function of two hospitals: the one that theory assumes and the one that is simulated. It returns z-scores,
(mean over episodes - exact value) / standard error, and must accept the hospital it assumes and reject one that has 3 % more
arrivals or 3 % longer stays.

Seeds are fixed. On a fresh seed a correct simulator exceeds ``BOUND`` with a chance of 8e-6 per score (Student's t with 49
degrees of freedom), and of 1e-4 where the means of single episodes are as skewed as those of waits (skewness 1 to 1.5, found
by resampling 800 episodes); each test says how many scores it takes. Over twelve other seeds one wait out of 96 scores
reached 5.02, and no altered hospital came nearer to ``BOUND`` than 6.3, with means of 8 to 16: on a fresh seed one of them
passes with a chance of about 1e-3 at most.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace

import ciw
import numpy as np
import pytest
from numpy.typing import NDArray

from hospital_gym.arrivals import hourly_rates
from hospital_gym.groups import Grouping
from hospital_gym.scenarios import SCENARIOS, URBAN, Scenario
from hospital_gym.simulator.layout import LEFT
from hospital_gym.simulator.simulator import Simulator
from hospital_gym.theory import (
    erlang_b,
    erlang_c,
    log_normal_survival,
    mean_wait_erlang_c,
    mean_waits_priority,
    occupancy_infinite_server,
)

BOUND = 5.0
STAY_DAYS = 4.5
STAY = 24 * STAY_DAYS
EXPONENTIAL, LOG_NORMAL = "exponential", "lognormal"

Scores = dict[str, float]


def more_requests(scenario: Scenario) -> Scenario:
    return replace(scenario, requests_per_day=1.03 * scenario.requests_per_day)


def longer_stays(scenario: Scenario) -> Scenario:
    return replace(scenario, mean_stay_days=tuple(tuple(1.03 * x for x in row) for row in scenario.mean_stay_days))


def score(values: list[float], expected: float) -> float:
    assert len(values) >= 50
    return float((np.mean(values) - expected) / (np.std(values, ddof=1) / np.sqrt(len(values))))


def assert_agrees_and_can_fail(oracle: Callable[[Scenario, Scenario], Scores], assumed: Scenario) -> None:
    scores = oracle(assumed, assumed)
    assert max(map(abs, scores.values())) < BOUND, scores
    for alter in (more_requests, longer_stays):
        scores = oracle(assumed, alter(assumed))
        assert max(map(abs, scores.values())) > BOUND, (alter.__name__, scores)


def ward(beds: int, load: float, law: str, stays: float) -> Scenario:
    """Adults in general beds, with nurses for all and no way out; ``stays`` is the horizon in mean stays."""
    return Scenario(
        name="ward",
        beds=(beds, 0, 0),
        surge_block_beds=(0, 0, 0),
        requests_per_day=load * beds / STAY_DAYS,
        profile="flat",
        day_effect_cv=0.0,
        age_mix=(0.0, 1.0, 0.0),
        severity_mix=(1.0, 0.0, 0.0),
        mean_stay_days=((STAY_DAYS,) * 3,) * 3,
        log_sigma_stay=((1.0,) * 3,) * 3,
        service_law=law,
        stage_hours=(1e12, 1e12, 1e12),
        patience_hours=(np.inf, np.inf, np.inf),
        nurses=(100_000, 100_000, 100_000),
        absence=0.0,
        transfer_slots_per_day=0.0,
        transfer_slots_cap=0.0,
        burn_in_hours=20 * STAY,
        horizon_hours=stays * STAY,
    )


def episodes(scenario: Scenario, number: int, seed: int) -> Iterator[Simulator]:
    """Episodes played to the end under triage."""
    simulator = Simulator(scenario)
    for episode in range(number):
        simulator.reset(seed, episode)
        simulator.run_triage()
        yield simulator


def settled(simulator: Simulator) -> NDArray[np.void]:
    """Patients who arrived under control, without the last ten mean stays: of those some are still waiting."""
    patients = np.asarray(simulator.patients)
    arrival = patients["arrival"]
    patients = patients[(arrival >= 0) & (arrival < simulator.scenario.horizon_hours - 10 * STAY)]
    assert not np.isnan(patients["decided"]).any()
    return patients


# Two scores of waits: error rate 2e-4 each.
@pytest.mark.parametrize(("beds", "load", "stays"), [(40, 0.85, 400), (60, 0.85, 300), (120, 0.9, 200)])
def test_waiting_agrees_with_erlang_c(beds: int, load: float, stays: float) -> None:
    def oracle(assumed: Scenario, simulated: Scenario) -> Scores:
        waits = [p["decided"] - p["arrival"] for p in map(settled, episodes(simulated, 50, seed=1))]
        rate = assumed.requests_per_day / 24
        return {
            "P(wait)": score([float((w > 0).mean()) for w in waits], erlang_c(rate * STAY, beds)),
            "mean wait": score([float(w.mean()) for w in waits], mean_wait_erlang_c(rate, STAY, beds)),
        }

    assert_agrees_and_can_fail(oracle, ward(beds, load, EXPONENTIAL, stays))


# Two scores: error rate 2e-5 each. Nobody has patience: whoever finds no free bed leaves at once.
@pytest.mark.parametrize(("beds", "stays"), [(40, 200), (60, 150), (120, 100)])
def test_loss_with_log_normal_stays_agrees_with_erlang_b(beds: int, stays: float) -> None:
    def oracle(assumed: Scenario, simulated: Scenario) -> Scores:
        lost, occupied = [], []
        simulator = Simulator(simulated)
        for episode in range(50):
            simulator.reset(2, episode)
            time, bed_hours = simulator.time, simulator.state.bed_hours[0]
            simulator.run_triage()
            lost.append(float((settled(simulator)["status"] == LEFT).mean()))
            occupied.append((simulator.state.bed_hours[0] - bed_hours) / (simulator.time - time))
        offered = assumed.requests_per_day * STAY_DAYS
        loss = erlang_b(offered, beds)
        return {"P(lost)": score(lost, loss), "occupied": score(occupied, offered * (1 - loss))}

    impatient = replace(ward(beds, 0.95, LOG_NORMAL, stays), patience_hours=(1e-12, np.inf, np.inf))
    assert_agrees_and_can_fail(oracle, impatient)


# Two scores of waits: error rate 2e-4.
def test_waiting_by_severity_agrees_with_priority_theory() -> None:
    def oracle(assumed: Scenario, simulated: Scenario) -> Scores:
        waits: dict[str, list[float]] = {"urgent": [], "routine": []}
        for patients in map(settled, episodes(simulated, 50, seed=3)):
            for severity, name in ((1, "urgent"), (0, "routine")):
                of_class = patients[patients["severity_arrival"] == severity]
                waits[name].append(float((of_class["decided"] - of_class["arrival"]).mean()))
        rates = [assumed.requests_per_day / 24 * share for share in (assumed.severity_mix[1], assumed.severity_mix[0])]
        expected = mean_waits_priority(rates, STAY, 20)
        return {name: score(waits[name], wait) for name, wait in zip(("urgent", "routine"), expected, strict=True)}

    two_classes = replace(ward(20, 0.85, EXPONENTIAL, 500), severity_mix=(0.6, 0.4, 0.0))
    assert_agrees_and_can_fail(oracle, two_classes)


# --- Ciw ---


def simulate_waits(scenario: Scenario) -> tuple[NDArray[np.void], NDArray[np.float64]]:
    """Patients of one episode and their waits; NaN for those still waiting at the end."""
    simulator = next(episodes(scenario, 1, seed=4))
    patients = np.asarray(simulator.patients).copy()
    return patients, patients["decided"] - patients["arrival"]


def ciw_waits(patients: NDArray[np.void], beds: int) -> NDArray[np.float64]:
    """The waits that Ciw gives the same patients, urgent before routine, with the same stays."""
    arrivals, stays = {}, {}
    for severity, name in ((1, "urgent"), (0, "routine")):
        of_class = patients[patients["severity_arrival"] == severity]
        never = [np.inf]  # nobody comes after the last; within a class stays are used in order of arrival
        arrivals[name] = [ciw.dists.Sequential([*np.diff(of_class["arrival"], prepend=0.0), *never])]
        stays[name] = [ciw.dists.Sequential(of_class["service_hours"][:, severity].tolist())]
    network = ciw.create_network(
        arrival_distributions=arrivals,
        service_distributions=stays,
        number_of_servers=[beds],
        priority_classes={"urgent": 0, "routine": 1},
    )
    simulation = ciw.Simulation(network)
    simulation.simulate_until_max_time(patients["arrival"][-1] + 100 * STAY)
    records = sorted(simulation.get_all_records(), key=lambda record: record.arrival_date)
    np.testing.assert_allclose([record.arrival_date for record in records], patients["arrival"], rtol=1e-9)
    return np.array([record.waiting_time for record in records])


# Nothing is estimated: Ciw, fed the patients of one episode, must give every one of them the same wait.
def test_ciw_gives_every_patient_of_a_priority_queue_the_same_wait() -> None:
    beds = 20
    scenario = replace(
        ward(beds, 0.95, LOG_NORMAL, 100),
        severity_mix=(0.7, 0.3, 0.0),
        mean_stay_days=((4.04, 5.07, 1.0),) * 3,
        log_sigma_stay=((0.72, 0.80, 1.0),) * 3,
        start_occupancy_cap=0.0,
        burn_in_hours=0.0,
    )
    patients, waits = simulate_waits(scenario)
    expected = ciw_waits(patients, beds)

    def agrees(waits: NDArray[np.float64]) -> bool:
        known = ~np.isnan(waits)
        return len(waits) == len(expected) and np.allclose(waits[known], expected[known], rtol=0, atol=1e-6)

    urgent = patients["severity_arrival"] == 1
    assert len(waits) > 1500 and np.isnan(waits).mean() < 0.1
    assert (waits[~np.isnan(waits)] > 0).mean() > 0.5
    assert np.nanmean(waits[urgent]) < np.nanmean(waits[~urgent])
    assert agrees(waits)
    for alter in (more_requests, longer_stays):
        assert not agrees(simulate_waits(alter(scenario))[1])


# --- occupancy with a bed for everybody ---


def class_occupancy(scenario: Scenario, profile: str) -> NDArray[np.float64]:
    """Exact mean occupancy at the end of each hour from the (empty) start to the horizon by bed type, shape (n_hours, 3)."""
    start = -int(scenario.burn_in_hours)
    rates = hourly_rates(scenario.requests_per_day, profile, start_hour=start, n_hours=int(scenario.horizon_hours) - start)
    occupancy = np.zeros((len(rates), 3))
    for (age, severity), share in np.ndenumerate(scenario.class_mix):
        bed = 2 if severity == 2 else 1 if age == 0 else 0
        survival = log_normal_survival(24 * scenario.mean_stay_days[age][severity], scenario.log_sigma_stay[age][severity])
        occupancy[:, bed] += occupancy_infinite_server(share * rates, survival)
    return occupancy


def bed_intervals(simulator: Simulator) -> tuple[NDArray[np.int8], NDArray[np.float64], NDArray[np.float64]]:
    """Bed type, begin and end (perhaps after the horizon) of every stay begun so far, those met at the start included."""
    patients = np.asarray(simulator.patients)
    patients = patients[patients["bed"] >= 0]
    begin = np.where(np.isnan(patients["decided"]), patients["arrival"], patients["decided"])
    return patients["bed"], begin, begin + patients["stay"]


def occupancy_at_hours(simulator: Simulator) -> NDArray[np.float64]:
    """Occupied beds at the end of each hour since the start by bed type, shape (n_hours, 3)."""
    start, end = -int(simulator.scenario.burn_in_hours), int(simulator.scenario.horizon_hours)
    beds, begin, finish = bed_intervals(simulator)
    out = np.empty((end - start, 3))
    for bed in range(3):
        ours = beds == bed
        here = [np.histogram(times[ours], np.arange(start, end + 1))[0].cumsum() for times in (begin, finish)]
        out[:, bed] = here[0] - here[1]
    return out


# The Urban hospital's patients, stays, profile and day effect, with beds, nurses and equipment for all. Scores: the mean of
# each bed type (error rate 3e-6), and its course over the week, 24 x 7 x 3 scores with the bound 5.5 (below 504 x 8e-8).
def test_occupancy_under_the_england_profile_agrees_with_the_integral() -> None:
    def oracle(assumed: Scenario, simulated: Scenario, profile: str = "england") -> Scores:
        exact = class_occupancy(assumed, profile)
        errors = []
        for simulator in episodes(simulated, 300, seed=5):
            occupancy = occupancy_at_hours(simulator)
            assert (occupancy.max(axis=0) < simulated.beds).all()
            errors.append((occupancy - exact)[-504:].reshape(3, 168, 3).mean(axis=0))
        by_hour = np.array(errors)
        mean = by_hour.mean(axis=1)
        course = by_hour - mean[:, None, :]
        worst = np.abs(course.mean(axis=0) / (course.std(axis=0, ddof=1) / np.sqrt(len(course)))).max()
        means = {f"mean of bed type {bed}": score(mean[:, bed].tolist(), 0.0) for bed in range(3)}
        return {**means, "course over the week": float(worst) * BOUND / 5.5}

    beds_for_all = replace(
        URBAN,
        beds=(1000, 1000, 1000),
        nurses=(100_000, 100_000, 100_000),
        absence=0.0,
        equipment=10_000,
        equipment_in_maintenance=10_000,
        start_occupancy_cap=0.0,
        burn_in_hours=1008.0,
    )
    assert_agrees_and_can_fail(oracle, beds_for_all)
    # The course is seen, too: with arrivals spread evenly over the week theory does not fit.
    assert oracle(beds_for_all, beds_for_all, "flat")["course over the week"] > BOUND


# --- Little's law ---


def assert_integrals_match_patients(simulator: Simulator) -> None:
    """What the kernel integrates over time equals what the patients' times add up to: L = lambda W, exactly."""
    arrived = np.asarray(simulator.patients[: simulator.state.next_arrival])
    initial = np.isnan(arrived["decided"]) & (arrived["bed"] >= 0)
    until = np.where(np.isnan(arrived["decided"]), simulator.time, arrived["decided"])
    waited = np.where(initial, 0.0, until - arrived["arrival"])
    n_groups = len(simulator.grouping.names)
    by_group = np.bincount(arrived["group"], weights=waited, minlength=n_groups)
    np.testing.assert_allclose(by_group, simulator.groups["waiting_hours"], rtol=1e-9, atol=1e-6)
    beds, begin, end = bed_intervals(simulator)
    by_bed = np.bincount(beds, weights=np.minimum(end, simulator.time) - begin, minlength=3)
    np.testing.assert_allclose(by_bed, simulator.state.bed_hours, rtol=1e-9)


@pytest.mark.parametrize("name", SCENARIOS)
@pytest.mark.parametrize("group_by", [None, ("age_band", "sex")])
def test_time_integrals_match_patients_under_any_policy(name: str, group_by: tuple[str, ...] | None) -> None:
    simulator = Simulator(SCENARIOS[name], group_by)
    rng = np.random.default_rng(6)
    simulator.reset(6)
    while not simulator.done:
        simulator.step(int(rng.choice(np.flatnonzero(simulator.mask))))
    assert_integrals_match_patients(simulator)
    assert (simulator.groups["waiting_hours"] > 0).all() and (simulator.state.bed_hours > 0).all()


# Per group, the arrival rate L / W that Little's law implies (mean number waiting / mean wait) must be the scenario's, and the
# mean stay of those admitted that of the scenario's tables: 4 + 4 scores, and 2 for all groups together: error rate 1e-5 each.
@pytest.mark.parametrize("name", SCENARIOS)
def test_littles_law_gives_the_scenarios_rates_and_stays_by_group(name: str) -> None:
    def oracle(assumed: Scenario, simulated: Scenario) -> Scores:
        grouping = Grouping(assumed)
        hours = assumed.burn_in_hours + assumed.horizon_hours
        rates = hourly_rates(
            assumed.requests_per_day,
            assumed.profile,
            assumed.ramp or None,
            start_hour=-int(assumed.burn_in_hours),
            n_hours=int(hours),
        )
        age, severity = np.divmod(np.arange(9), 3)
        share = np.bincount(
            grouping.assign({"age_band": age, "severity": severity}), weights=assumed.class_mix.ravel(), minlength=4
        )
        implied, excess = [], []
        for simulator in episodes(simulated, 300, seed=7):
            assert_integrals_match_patients(simulator)
            patients = np.asarray(simulator.patients[: simulator.state.next_arrival])
            admitted = patients[(patients["bed"] >= 0) & ~np.isnan(patients["decided"])]
            requested = patients[(patients["bed"] < 0) | ~np.isnan(patients["decided"])]
            # L x hours = sum of waits was asserted above, so L / W is the number of requests / hours.
            implied.append(np.bincount(requested["group"], minlength=4) / hours / (share * rates.mean()) - 1)
            excess.append(stay_excess(assumed, admitted))
        scores = {}
        for g, group in enumerate(grouping.names):
            scores[f"arrival rate of {group}"] = score([float(x[g]) for x in implied], 0.0)
            scores[f"stays of {group}"] = score([float(x[g]) for x in excess], 0.0)
        scores["arrival rate"] = score([float(x @ share) for x in implied], 0.0)
        scores["stays"] = score([float(x.sum()) for x in excess], 0.0)
        return scores

    assert_agrees_and_can_fail(oracle, SCENARIOS[name])


def stay_excess(assumed: Scenario, admitted: NDArray[np.void]) -> NDArray[np.float64]:
    """By group, the sum over those admitted of stay / (mean stay of age band, severity at admission and bed) - 1."""
    age, severity, bed = admitted["age_band"], admitted["severity"], admitted["bed"]
    critical, child = severity == 2, age == 0
    factor = np.select(
        [critical & (bed != 2), ~critical & child & (bed == 0), ~critical & ~child & (bed == 1)],
        [assumed.critical_in_ward[1], assumed.child_in_general[1], assumed.adult_in_paediatric[1]],
        default=1.0,
    )
    expected = 24 * np.asarray(assumed.mean_stay_days)[age, severity] * factor
    return np.bincount(admitted["group"], weights=admitted["stay"] / expected - 1, minlength=4).astype(np.float64)

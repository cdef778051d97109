"""Load and utilisation agree with what they can be derived from otherwise."""

from dataclasses import replace

import numpy as np
import pytest

from hospital_gym.records import RESOURCES
from hospital_gym.scenarios import SCENARIOS, URBAN, Scenario
from hospital_gym.simulator.layout import ABSENT
from hospital_gym.simulator.simulator import Simulator
from hospital_gym.workload import offered_load_by_shift, triage_workload


@pytest.mark.parametrize("scenario", SCENARIOS.values(), ids=lambda scenario: scenario.name)
def test_mean_over_shifts_is_the_offered_load(scenario: Scenario) -> None:
    """Arrivals by hour move the load between shifts; its mean is rate x stay / beds (within the cut-off tail of the stays)."""
    load = offered_load_by_shift(scenario)
    np.testing.assert_allclose(load.mean(axis=1), scenario.offered_load, rtol=1e-3)
    assert np.all(load.max(axis=1) > 1.02 * load.min(axis=1))


def test_flat_arrivals_load_every_shift_alike() -> None:
    load = offered_load_by_shift(replace(URBAN, profile="flat"))
    np.testing.assert_allclose(load, np.tile(np.asarray(URBAN.offered_load)[:, None], 3), rtol=1e-3)


def test_beds_that_do_not_exist() -> None:
    load = offered_load_by_shift(replace(URBAN, beds=(80, 0, 18)))
    assert np.all(np.isinf(load[1])) and np.all(np.isfinite(load[[0, 2]]))


def test_nurse_hours_follow_from_bed_hours() -> None:
    """With one ratio for all, one need for all shifts and nobody absent, nurse-hours needed = occupied bed-hours / ratio.

    Within 0.1 %, as beds are counted from the first decision on, which comes some minutes after control begins.
    """
    scenario = replace(
        URBAN,
        patients_per_nurse=(4.0, 4.0, 4.0, 4.0),
        shift_need=(1.0, 1.0, 1.0),
        nurses=(60, 60, 60),
        absence=0.0,
        budget_per_day=0.0,
        budget_cap=0.0,  # no surge beds
    )
    workload = triage_workload(scenario, n_episodes=2, seed=0)
    bed_hours = float(workload.bed_use @ np.asarray(scenario.beds)) * scenario.horizon_hours
    nurse_hours = workload.nurse_use.sum() / 3 * 60 * scenario.horizon_hours
    assert nurse_hours == pytest.approx(bed_hours / 4, rel=1e-3)


def test_size_of_an_urban_episode() -> None:
    """504 h at 28.5 requests a day are 598.5 patients; the mean of 20 episodes has a standard deviation below 8."""
    workload = triage_workload(URBAN, n_episodes=20, seed=0)
    assert abs(workload.patients - 598.5) < 4 * 8
    assert 600 < workload.decisions < 2000
    assert 120 < workload.most_patients < 200
    assert np.all((workload.bed_use > 0.7) & (workload.bed_use < 1.0))
    with pytest.raises(ValueError, match="n_episodes: got 0, expected at least 1"):
        triage_workload(URBAN, n_episodes=0, seed=0)


@pytest.mark.parametrize("scenario", [URBAN, SCENARIOS["Surge"]], ids=lambda scenario: scenario.name)
def test_utilisation_is_that_of_the_stays(scenario: Scenario) -> None:
    """Hours used are the sum over stays, hours open those of the plan: Little's law without its limit.

    Surge changes its beds by plan; with levers, hours open exceed the plan by whole blocks and crews.
    """
    simulator = Simulator(scenario)
    simulator.reset(seed=3)
    simulator.run_triage()
    horizon, hours = scenario.horizon_hours, simulator.utilisation()
    assert tuple(hours) == RESOURCES

    known = simulator.patients[simulator.patients.status != ABSENT]
    in_bed = known[known.bed >= 0]
    # In a bed from the start of the burn-in: no decision, the stay begins on arrival.
    begin = np.where(np.isnan(in_bed.decided), in_bed.arrival, in_bed.decided)
    under_control = np.clip(np.minimum(begin + in_bed.stay, horizon) - np.maximum(begin, 0.0), 0.0, None)
    for bed, name in enumerate(RESOURCES[:3]):
        assert hours[name][0] == pytest.approx(under_control[in_bed.bed == bed].sum(), rel=1e-9)
    assert hours["equipment"][0] == pytest.approx(under_control[in_bed.severity == 2].sum(), rel=1e-9)

    changes = np.array(scenario.capacity_changes).reshape(-1, 4)
    planned = np.asarray(scenario.beds) * horizon
    np.add.at(planned, changes[:, 2].astype(int), (changes[:, 1] - changes[:, 0]) * changes[:, 3])
    surge = np.array([hours[name][1] for name in RESOURCES[:3]]) - planned
    assert np.all(surge > -1e-6) and surge.sum() > 0
    out = scenario.equipment - scenario.equipment_in_maintenance
    in_maintenance = horizon / scenario.maintenance_every * scenario.maintenance_hours * out
    assert hours["equipment"][1] == pytest.approx(scenario.equipment * horizon - in_maintenance, abs=out * 8.0)


def test_nurse_hours_available_are_the_roster_and_the_levers() -> None:
    """Nobody absent: 80 nurses of 8 hours a day are 640 hours a day; without a budget no lever adds to them."""
    scenario = replace(URBAN, absence=0.0, budget_per_day=0.0, budget_cap=0.0)
    simulator = Simulator(scenario)
    simulator.reset(seed=0)
    simulator.run_triage()
    needed, present = simulator.utilisation()["nurses"]
    assert present == pytest.approx(21 * 640.0, rel=1e-9)
    # What the shifts need lies between the least and the most that the bed-hours can need.
    bed_hours = sum(used for used, _ in list(simulator.utilisation().values())[:3])
    assert bed_hours / 5 * 0.67 < needed < bed_hours / 2
    with_levers = Simulator(replace(URBAN, absence=0.0))
    with_levers.reset(seed=0)
    with_levers.run_triage()
    assert with_levers.utilisation()["nurses"][1] > present
